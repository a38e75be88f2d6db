"""Evaluate an archive on recorded rows that its training did not see, or tell which of two is better on equal clips.

A model is MODEL:VERSION of the store or the registry, or the path of an archive. One model, of any family, is asked
about the labelled rows at --data through its handler and in the engine that serves: what its users would get. Printed
are its main figures, each with a 95 % interval by the bootstrap over signers, families of products, users, projects or
weeks. Data that is as it was when the archive was trained is refused; whether a part of it was is for you to know.

Two models, of SignFlow, are asked in process, in float32 whatever they would serve in, about signers that neither has
learned from: accuracy, top-5, F1, calibration, McNemar's test, and what it costs: size, operations, time on one core.
`scripts/compare_models.py` compares what served.

Signers are known to be unseen by the data's hash. Of data that an archive was not trained on as it is, such as one file
of a folder, all are taken for unseen: name the data of the training, or recordings that had no part in it.

Example
-------
    python scripts/evaluate_models.py --models catalog:1.0 --data kept_aside.csv
    python scripts/evaluate_models.py --models signflow:1.0,signflow:2.0
    python scripts/evaluate_models.py --models old.mar,new.mar --data recordings/common_signs.npz --out page.html
"""

import argparse
import importlib
import io
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from archives.archive import Archive, open_archive
from archives.errors import MarinaError
from marina.processes.console import show
from marina.processes.report_page import write
from marina.rollout import archive_lookup
from marina.rollout.reports.comparison import Comparison, Observed, Side, describe_archive, pairs_of
from marina.rollout.reports.comparison_page import figure, report, text
from marina.rollout.rollouts import RolloutError
from marina.settings import read_settings
from training.data.manifest import SYNTHETIC
from training.data.reading.style import Style, add_style
from training.evaluation.archive_evaluation import Answers, Questions, answers
from training.evaluation.labelled import LEAST_GROUPS, evaluate
from training.family import families, labelling


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, metavar="A[,B]", help="each MODEL:VERSION, or an archive")
    parser.add_argument(
        "--data",
        default="synthetic",
        metavar="PATH",
        help='recorded data, or of two models "synthetic" (default: %(default)s)',
    )
    add_style(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a page (.html) or a picture (.png)")
    options = parser.parse_args(argv)
    names = options.models.split(",")
    if len(names) > 2:
        parser.error(f"expected one model, or two with a comma between them, got {options.models!r}")
    if len(names) == 1 and (options.data == SYNTHETIC or options.out):
        parser.error("one model is evaluated on recorded rows and printed: expected --data PATH, and no --out")
    settings = read_settings()
    try:
        archives = [archive_lookup.find(settings, *archive_lookup.asked(settings, name)).archive for name in names]
        if len(archives) == 1:
            _evaluate(open_archive(archives[0]), Path(options.data), Style.of(options))
            return 0
        found = _compare(archives, options.data)
        print(text(found))
        if options.out:
            plot = figure(found)
            picture = io.BytesIO()
            if options.out.suffix == ".png" and plot is not None:
                plot.savefig(picture, format="png", dpi=120)
            write(options.out, picture.getvalue() or report(found))
            print(f"\nwritten: {options.out}")
    except (MarinaError, FileNotFoundError, ValueError) as error:
        show(error, sys.stderr)
        return 1
    return 0


def _evaluate(archive: Archive, data: Path, style: Style) -> None:
    contract, console = archive.contract, Console(soft_wrap=True, highlight=False, markup=False)
    if contract.family not in families("labelled"):
        raise RolloutError(f"{contract.family}: this family reads no labelled rows; it lacks a labelled.py")
    asked, used = labelling(contract.family).labelled(data, contract, style, console)
    if archive.json("provenance.json").get("data_manifest_sha256") == used.sha256:
        raise RolloutError(f"{archive.name} was trained on {data} as it is: name rows that its training did not see")
    found = evaluate(archive, asked)
    console.print(f"{contract.model} {contract.version} on {data}: {asked.described}")
    if found.refused:
        console.print(f"refused {found.refused:,} of {found.rows:,}, not counted below; the first: {found.first}")
    width = max(map(len, found.figures))
    for name, (value, low, high) in found.figures.items():
        interval = "" if math.isnan(low) else f"   {low:.3f} to {high:.3f}"
        console.print(f"  {name:<{width}}  {'-' if math.isnan(value) else f'{value:.3f}'}{interval}")
    few = f": expected {LEAST_GROUPS} or more for an interval" if found.groups < LEAST_GROUPS else ", 95 % intervals"
    console.print(f"bootstrap over {found.groups:,} groups ({asked.grouped_by}){few}")


def _compare(archives: Sequence[Path], data: str) -> Comparison:
    asked = _questions(archives, data)
    found = [answers(archive, asked.inputs, asked.labels) for archive in archives]
    pairs = pairs_of(*(one.right.tolist() for one in found))
    before, after = (_side(archive, one) for archive, one in zip(archives, found, strict=True))
    return Comparison(before, after, pairs, asked.described, "measured in process, on one core, each clip alone")


def _side(archive: Path, found: Answers) -> Side:
    said = describe_archive(archive)
    return Side(
        f"{said.contract['model']} {said.contract['version']}", replace(said, metrics=found.metrics), Observed()
    )


def _questions(archives: Sequence[Path], data: str) -> Questions:
    contracts, origins = ([_read(archive, name) for archive in archives] for name in ("contract", "provenance"))
    families = {contract["family"] for contract in contracts}
    if len(families) != 1:
        raise RolloutError(f"expected two models of one family, got {' and '.join(sorted(families))}")
    try:
        family = importlib.import_module(f"training.{families.pop()}.unseen_clips")
    except ModuleNotFoundError as error:
        raise RolloutError(
            f"{error}: this family is not supported yet; scripts/compare_models.py --data can"
        ) from error
    found: Questions = family.unseen_inputs(data, [contract["labels"] for contract in contracts], origins)
    return found


def _read(archive: Path, name: str) -> dict[str, Any]:
    return open_archive(archive).json(f"{name}.json")


if __name__ == "__main__":
    sys.exit(main())
