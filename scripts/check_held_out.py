"""Ask live versions about held-out rows again, so that the drift report knows what they are worth today.

The rows are asked through a version's own handler, as users' requests are. What comes out is compared, in the drift
report (scripts/check_drift.py), with the accuracy that the version had when it was released: rows that were set aside
since, such as those of the last weekly load, tell of the world as it is now. Only models that answer with labels have
an accuracy.

The last line is JSON. Exit status: 0 asked, 1 not.

Example
-------
    python scripts/check_held_out.py --model catalog --data kept_aside.csv
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.database.tables import DECLARATIONS
from marina.monitoring import held_out_checks
from marina.monitoring.held_out_checks import HeldOutCheck
from marina.monitoring.live_versions import NotLiveError
from marina.monitoring.performance import HELD_OUT, held_out_accuracy
from marina.processes.console import show
from marina.releases.heads import open_database
from marina.rollout import archive_lookup
from marina.settings import Settings, read_settings
from training.data.reading.style import Style, add_style
from training.evaluation.labelled import LabelledError, evaluate
from training.family import families, labelling


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model that is served")
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="rows that no training has seen")
    add_style(parser)
    options = parser.parse_args(argv)
    settings = read_settings()
    try:
        database = open_database(settings)
        try:
            asked = [_ask(settings, options, *one) for one in _live(database, options.model)]
            with database.writing() as connection:
                for version, check in asked:
                    held_out_checks.record(connection, options.model, version, check)
        finally:
            database.close()
    except (MarinaError, FileNotFoundError) as error:
        show(error, sys.stderr)
        return 1
    print(json.dumps({"model": options.model, "versions": {version: vars(check) for version, check in asked}}))
    return 0


def _live(database: Database, model: str) -> list[tuple[str, str]]:
    """Return version and hash of every version that has traffic."""
    declared = sa.select(DECLARATIONS.c.version, DECLARATIONS.c.sha256).where(DECLARATIONS.c.model == model)
    with database.reading() as connection:
        rows = connection.execute(declared.where(DECLARATIONS.c.weight > 0)).all()
    if not rows:
        raise NotLiveError(f"{model} has no version with traffic: python scripts/serve.py --archive FILE serves one")
    return [(row.version, row.sha256) for row in rows]


def _ask(settings: Settings, options: argparse.Namespace, version: str, sha256: str) -> tuple[str, HeldOutCheck]:
    archive = archive_lookup.opened(settings, options.model, version, sha256)
    family, provenance = archive.contract.family, archive.json("provenance.json")
    if family not in families("labelled"):
        raise LabelledError(f"{family}: this family reads no labelled rows; it lacks a labelled.py")
    console = Console(soft_wrap=True, highlight=False, markup=False, stderr=True)
    rows, manifest = labelling(family).labelled(options.data, archive.contract, Style.of(options), console)
    if provenance.get("data_manifest_sha256") == manifest.sha256:
        raise LabelledError(f"{archive.name} was trained on {options.data} as it is: name rows it did not see")
    found = evaluate(archive, rows)
    figures = [found.figures[name] for name in HELD_OUT if name in found.figures]
    if not figures:
        raise LabelledError(f"{options.model} has no accuracy: its figures are {', '.join(sorted(found.figures))}")
    accuracy, low, high = figures[0]
    low, high = (0.0, 1.0) if math.isnan(low) else (low, high)
    check = HeldOutCheck(time.time(), manifest.sha256, found.rows, found.refused, accuracy, low, high)
    show(f"{options.model} {version}: {check.describe(held_out_accuracy(provenance))}", sys.stderr)
    return version, check


if __name__ == "__main__":
    sys.exit(main())
