"""Evaluate two archives on the same labelled clips, and tell whether one is better.

A model is MODEL:VERSION of the store or the registry, or the path of an archive. Both are asked in process, in float32
whatever they would serve in, about signers that neither has learned from: accuracy, top-5, F1, calibration, McNemar's
test, and what it costs: size, operations, time on one core. `scripts/compare_models.py` compares what served.

Signers are known to be unseen by the data's hash. Of data that an archive was not trained on as it is, such as one file
of a folder, all are taken for unseen: name the data of the training, or recordings that had no part in it.

Example
-------
    python scripts/evaluate_models.py --models signflow:1.0,signflow:2.0 --data synthetic
    python scripts/evaluate_models.py --models old.mar,new.mar --data recordings/common_signs.npz --out page.html
"""

import argparse
import importlib
import json
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from archives.contract import ArchiveError
from archives.registry import RegistryError
from rollout import candidates
from rollout.comparison import Comparison, Met, Side, pairs_of, stated
from rollout.comparison_report import figure, report, text
from rollout.rollouts import RolloutError
from settings import Settings
from training.answers import Answers, Questions, answers


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, metavar="A,B", help="each MODEL:VERSION, or an archive")
    parser.add_argument("--data", required=True, metavar="PATH", help='recorded clips, or "synthetic"')
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a page (.html) or a picture (.png)")
    options = parser.parse_args(argv)
    names = options.models.split(",")
    if len(names) != 2:
        parser.error(f"expected two models with a comma between them, got {options.models!r}")
    settings = Settings()
    try:
        archives = [candidates.find(settings, *candidates.asked(name)).archive for name in names]
        found = _compare(archives, options.data)
    except (ArchiveError, FileNotFoundError, RegistryError, RolloutError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(text(found))
    if options.out:
        drawn = figure(found)
        if options.out.suffix == ".png" and drawn is not None:
            drawn.savefig(options.out, dpi=120)
        else:
            options.out.write_text(report(found))
        print(f"\nwritten: {options.out}")
    return 0


def _compare(archives: Sequence[Path], data: str) -> Comparison:
    asked = _questions(archives, data)
    found = [answers(archive, asked.inputs, asked.labels) for archive in archives]
    pairs = pairs_of(*(one.right.tolist() for one in found))
    before, after = (_side(archive, one) for archive, one in zip(archives, found, strict=True))
    return Comparison(before, after, pairs, asked.described, "measured in process, on one core, each clip alone")


def _side(archive: Path, found: Answers) -> Side:
    said = stated(archive)
    return Side(f"{said.contract['model']} {said.contract['version']}", replace(said, metrics=found.metrics), Met())


def _questions(archives: Sequence[Path], data: str) -> Questions:
    contracts, origins = ([_read(archive, name) for archive in archives] for name in ("contract", "provenance"))
    families = {contract["family"] for contract in contracts}
    if len(families) != 1:
        raise RolloutError(f"expected two models of one family, got {' and '.join(sorted(families))}")
    try:
        family = importlib.import_module(f"training.{families.pop()}_questions")
    except ModuleNotFoundError as error:
        raise RolloutError(f"{error}: this family cannot be asked yet; scripts/compare_models.py --data can") from error
    found: Questions = family.questions(data, [contract["labels"] for contract in contracts], origins)
    return found


def _read(archive: Path, name: str) -> dict[str, Any]:
    with zipfile.ZipFile(archive) as members:
        found: dict[str, Any] = json.loads(members.read(f"{name}.json"))
    return found


if __name__ == "__main__":
    sys.exit(main())
