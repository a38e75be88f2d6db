"""Ask live versions about held-out rows again, so that the drift report knows what they are worth today.

The rows are asked through a version's own handler, as users' requests are. What comes out is compared, in the drift
report (scripts/check_drift.py), with the accuracy that the version had when it was released: rows that were set aside
since, such as those of the last weekly load, tell of the world as it is now. Only models that answer with labels have
an accuracy. Without --model, all models of the families for which MARINA_ML_HELD_OUT names rows are asked that can be.

The last line is JSON. Exit status: 0 asked, 1 not.

Example
-------
    python scripts/check_held_out.py --model catalog --data kept_aside.csv
    MARINA_ML_HELD_OUT='{"catalog": "kept_aside.csv"}' python scripts/check_held_out.py
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
    parser.add_argument("--model", help="a model that is served (default: all, on the rows of the settings)")
    parser.add_argument("--data", type=Path, metavar="PATH", help="rows that no training has seen")
    add_style(parser)
    options = parser.parse_args(argv)
    if (options.model is None) != (options.data is None):
        parser.error("--model and --data go together")
    settings = read_settings()
    try:
        database = open_database(settings)
        try:
            style = Style.of(options)
            if options.model:
                asked = [_ask(settings, style, options.data, *one) for one in _live(database, options.model)]
            else:
                asked = _ask_all(settings, style, database)
            with database.writing() as connection:
                for model, version, check in asked:
                    held_out_checks.record(connection, model, version, check)
        finally:
            database.close()
    except (MarinaError, FileNotFoundError) as error:
        show(error, sys.stderr)
        return 1
    print(
        json.dumps({"asked": [{"model": model, "version": version, **vars(check)} for model, version, check in asked]})
    )
    return 0


Asked = tuple[str, str, HeldOutCheck]
"""Model, version, and how it answered."""


def _ask_all(settings: Settings, style: Style, database: Database) -> list[Asked]:
    """Ask every live version of the families that have held-out rows; say of which that cannot be, and why."""
    asked = []
    for model, version, sha256 in _live(database):
        family = archive_lookup.opened(settings, model, version, sha256).contract.family
        if (data := settings.ml_held_out.get(family)) is None:
            continue
        try:
            asked.append(_ask(settings, style, Path(data), model, version, sha256))
        except LabelledError as error:
            show(f"{model} {version} is not asked: {error}", sys.stderr)
    return asked


def _live(database: Database, model: str | None = None) -> list[tuple[str, str, str]]:
    """Return model, version and hash of every version that has traffic, or of one model's."""
    declared = sa.select(DECLARATIONS.c.model, DECLARATIONS.c.version, DECLARATIONS.c.sha256)
    declared = declared.where(DECLARATIONS.c.weight > 0)
    if model is not None:
        declared = declared.where(DECLARATIONS.c.model == model)
    with database.reading() as connection:
        rows = connection.execute(declared.order_by(DECLARATIONS.c.model, DECLARATIONS.c.version)).all()
    if not rows and model is not None:
        raise NotLiveError(f"{model} has no version with traffic: python scripts/serve.py --archive FILE serves one")
    return [(row.model, row.version, row.sha256) for row in rows]


def _ask(settings: Settings, style: Style, data: Path, model: str, version: str, sha256: str) -> Asked:
    archive = archive_lookup.opened(settings, model, version, sha256)
    family, provenance = archive.contract.family, archive.json("provenance.json")
    if family not in families("labelled"):
        raise LabelledError(f"{family}: this family reads no labelled rows; it lacks a labelled.py")
    console = Console(soft_wrap=True, highlight=False, markup=False, stderr=True)
    rows, manifest = labelling(family).labelled(data, archive.contract, style, console)
    if provenance.get("data_manifest_sha256") == manifest.sha256:
        raise LabelledError(f"{archive.name} was trained on {data} as it is: name rows it did not see")
    found = evaluate(archive, rows)
    figures = [found.figures[name] for name in HELD_OUT if name in found.figures]
    if not figures:
        raise LabelledError(f"{model} has no accuracy: its figures are {', '.join(sorted(found.figures))}")
    accuracy, low, high = figures[0]
    low, high = (0.0, 1.0) if math.isnan(low) else (low, high)
    check = HeldOutCheck(time.time(), manifest.sha256, found.rows, found.refused, accuracy, low, high)
    show(f"{model} {version}: {check.describe(held_out_accuracy(provenance))}", sys.stderr)
    return model, version, check


if __name__ == "__main__":
    sys.exit(main())
