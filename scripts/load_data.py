"""Keep a family's data in the database, and let it grow week by week: import, release, export.

    python scripts/load_data.py import --family catalog exports/          # tables, or a folder of them
    python scripts/load_data.py import --family catalog --synthetic 4000  # what the family's generator makes
    python scripts/load_data.py release --family catalog                  # this week's rows become visible
    python scripts/load_data.py status --family catalog --bad
    python scripts/load_data.py export --family catalog --out catalog.parquet
    python scripts/train.py catalog --data catalog.parquet

A release first imports the labels that people sent, with their requests where these were kept: those of trusted sources
alone where MARINA_FEEDBACK_TOKENS are set. docs/LOOP.md says what is refused and what a release verifies. With --json
the last line is the result. Ends with 1 where something could not be done, such as a file that was refused as a whole.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from archives.errors import MarinaError
from marina.database.connection import AWAY, Database
from marina.database.half_restored import check_restored
from marina.processes.console import show
from marina.settings import Settings, read_settings
from training.data.reading.style import Style, add_style
from training.data.rows import importer
from training.data.rows.export import export
from training.data.rows.labels import import_labels
from training.data.rows.loader import release
from training.data.rows.overview import bad_rows, count_rows, overview
from training.data.rows.source import MODULE
from training.family import families

SHOWN = 20


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    added = {
        name: commands.add_parser(name, help=text)
        for name, text in (
            ("import", "tables, or synthetic rows, into the database"),
            ("release", "make the next rows visible to training"),
            ("status", "what is there"),
            ("export", "write what is visible as a file that training reads"),
        )
    }
    for name, command in added.items():
        # Every family may ask for a release: one that keeps no rows is told so, and trains on data of its own.
        command.add_argument(
            "--family", required=name != "status", choices=families() if name == "release" else families(MODULE)
        )
        command.add_argument("--json", action="store_true", help="the last line is the result, as JSON")
    added["import"].add_argument("path", nargs="?", type=Path, help="a table, or a folder of them")
    added["import"].add_argument("--synthetic", type=int, metavar="ROWS", help="in place of a path: generate rows")
    added["import"].add_argument("--seed", type=int, default=0, help="of the generator (default: %(default)s)")
    add_style(added["import"])
    added["release"].add_argument("--week", metavar="2026-W48", help="ISO week (default: this one)")
    added["release"].add_argument(
        "--out-dir", type=Path, help="also export what is visible then, if anything is, as FAMILY.parquet there"
    )
    added["status"].add_argument("--bad", action="store_true", help=f"also the latest {SHOWN} refused rows")
    added["export"].add_argument("--out", required=True, type=Path, help="the file; of market a folder")
    added["export"].add_argument("--week", metavar="2026-W48", help="what was visible then (default: now)")
    options = parser.parse_args(argv)
    if options.command == "import" and (options.path is None) == (options.synthetic is None):
        parser.error("import needs a path, or --synthetic ROWS")
    settings = read_settings()
    try:
        check_restored(settings)
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        database = Database(settings.database)
        try:
            database.upgrade()
            code, result = COMMANDS[options.command](settings, database, options)
        finally:
            database.close()
    except (MarinaError, OSError, *AWAY) as error:
        again = "The database is unavailable; start the same command again, nothing is done twice: "
        text = f"{again if isinstance(error, AWAY) else ''}{error}"
        show(text, sys.stderr)
        code, result = 1, {"error": text}
    if options.json:
        show(json.dumps(result, sort_keys=True))
    return code


def _import(settings: Settings, database: Database, options: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    if options.synthetic is not None:
        done = importer.import_synthetic(database, options.family, max(1, options.synthetic), options.seed)
    else:
        done = importer.import_path(database, options.family, options.path, Style.of(options))
    for one in done:
        show(one.account)
        if one.state == importer.REFUSED:
            show(f"{one.source}: refused", sys.stderr)
        else:
            known = "imported before; " if one.state == "known" else ""
            show(f"{one.source}: {known}{one.added:,} rows added, {one.repeated:,} are there already, {one.bad:,} bad")
    for bad in bad_rows(database, options.family, SHOWN, [one.batch for one in done if one.state != "known"]):
        show(_described(bad), sys.stderr)
    refused = any(one.state == importer.REFUSED for one in done)
    return int(refused), {"family": options.family, "files": [one.to_dict() for one in done]}


def _release(settings: Settings, database: Database, options: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    trusted_only = bool(settings.feedback_tokens)
    has_rows = options.family in families(MODULE)
    for one in import_labels(database, options.family, trusted_only=trusted_only) if has_rows else ():
        show(f"{one.source}: {one.added:,} rows added, {one.repeated:,} are there already, {one.bad:,} bad")
    with database.reading() as connection:
        imported, _ = count_rows(connection, options.family)
    if options.out_dir and not imported:
        show(f"{options.family}: no rows were imported; it trains on data of its own")
        return 0, {"family": options.family, "state": "no rows"}
    done = release(database, options.family, settings.load_share, settings.load_first_share, options.week)
    moved = "".join(f"; {column} moved by {effect:.2f}" for column, effect in done.shifts.items())
    show(
        f"{done.family} {done.week}: {done.state}, {done.rows:,} rows, {done.visible:,} of {done.imported:,} visible"
        f"{moved}"
    )
    if not options.out_dir:
        return 0, done.to_dict()
    made = export(database, options.family, options.out_dir / f"{options.family}.parquet")
    show(f"{made.path}: {made.rows:,} rows up to {made.week}")
    return 0, done.to_dict() | {"data": str(made.path)}


def _status(settings: Settings, database: Database, options: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    chosen = [options.family] if options.family else families(MODULE)
    found = [overview(database, family) for family in chosen]
    for one in found:
        last = one["releases"][0]["week"] if one["releases"] else "none"
        show(
            f"{one['family']}: {one['visible']:,} of {one['imported']:,} rows visible, {one['bad']:,} bad, "
            f"{len(one['files'])} files, last release {last}"
        )
        for bad in bad_rows(database, one["family"], SHOWN) if options.bad else []:
            show(f"  {_described(bad)}")
    return 0, {"families": found}


def _export(settings: Settings, database: Database, options: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    done = export(database, options.family, options.out, options.week)
    show(f"{done.path}: {done.rows:,} rows up to {done.week}, manifest {done.sha256}")
    return 0, done.to_dict()


def _described(bad: dict[str, Any]) -> str:
    place = bad["source"] if bad["row"] is None else f"{bad['source']}[{bad['row']}]"
    return f"{place}: {bad['kind']}: {bad['reason']}"


COMMANDS = {"import": _import, "release": _release, "status": _status, "export": _export}

if __name__ == "__main__":
    sys.exit(main())
