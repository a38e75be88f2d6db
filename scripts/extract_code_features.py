"""Extract the 35 features of code health from a local git repository.

    python scripts/extract_code_features.py ~/src/project                                  # today, printed
    python scripts/extract_code_features.py ~/src/project --at 2026-01-01 --out health.csv
    python scripts/extract_code_features.py ~/src/project --every 90 --kinds file commit --labels --out health.parquet

A row is a source file or the project at a date, or a commit as it arrived; docs/families/code_health_features.md
defines the columns. Nothing is checked out, and no row looks past its date. What was measured once is kept in a cache.
"""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from rich.console import Console

from models.code_health.changes import DAY_S
from models.code_health.features import FEATURES
from settings import Settings
from training.code_blame import repairs
from training.code_blobs import Cache
from training.code_extract import Extractor
from training.code_git import GitError
from training.code_history import read_history
from training.code_labels import labels

KINDS = ("file", "project", "commit")
WRITERS = {
    ".parquet": lambda table, file: table.to_parquet(file, index=False),
    ".csv": lambda table, file: table.to_csv(file, index=False, float_format="%.7g"),
    ".gz": lambda table, file: table.to_csv(file, index=False, float_format="%.7g"),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "repository", type=Path, metavar="REPO", help="a work tree or a git directory, with its history"
    )
    parser.add_argument("--at", type=_moment, metavar="DATE", help="ISO date, 00:00 UTC (default: the last commit)")
    parser.add_argument(
        "--every", type=int, metavar="DAYS", help="files and project every so many days back from then as well"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS[:2], help="what to describe (default: file project)"
    )
    parser.add_argument("--labels", action="store_true", help="add what became of each row, read from later history")
    parser.add_argument("--revision", default="HEAD", help="tip of the main line (default: %(default)s)")
    parser.add_argument("--project", help="name of the project in the table (default: the repository's folder)")
    parser.add_argument("--jobs", type=int, help="processes that measure code (default: one per core)")
    parser.add_argument("--cache", type=Path, help="SQLite file of measures (default: in the state folder)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=".parquet, .csv or .csv.gz (default: print the project)"
    )
    arguments = parser.parse_args(argv)
    if arguments.out is not None and arguments.out.suffix not in WRITERS:
        parser.error(f"expected --out to end in {', '.join(WRITERS)}, got {arguments.out}")
    if arguments.every is not None and arguments.every < 1:
        parser.error(f"expected --every of at least 1 day, got {arguments.every}")
    console = Console(stderr=True, soft_wrap=True)
    try:
        table = extract(arguments, console)
    except (GitError, ValueError) as error:
        console.print(str(error), style="red", highlight=False, markup=False)
        return 1
    if arguments.out is None:
        show(table, Console(soft_wrap=True))
    else:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[arguments.out.suffix](table, arguments.out)
        console.print(f"wrote {len(table):,} rows to {arguments.out}", highlight=False)
    return 0


def extract(arguments: argparse.Namespace, console: Console) -> pd.DataFrame:
    started = time.monotonic()
    repository = read_history(arguments.repository, arguments.revision, console)
    console.print(f"{len(repository.hashes):,} commits read in {time.monotonic() - started:.1f} s", highlight=False)
    times = repository.history.time_s
    last = int(times[-1]) if arguments.at is None else arguments.at
    moments = range(last, int(times[0]) - 1, -arguments.every * DAY_S) if arguments.every else [last]
    folder = arguments.repository.resolve()
    name = arguments.project or (folder.parent if folder.name == ".git" else folder).name.removesuffix(".git")
    found = repairs(repository, console) if arguments.labels else None
    tables = []
    with Cache(arguments.cache or Settings().state_dir / "code_measures.sqlite") as cache:
        extractor = Extractor(repository, cache, arguments.jobs, console)
        described = [extractor.files(moments)] if {"file", "project"} & set(arguments.kinds) else []
        described += [extractor.commits(last)] if "commit" in arguments.kinds else []
        for rows in described:
            table = rows.frame(name)
            if found is not None:
                table = pd.concat([table, labels(repository, rows, found)], axis=1)
            tables.append(table[table["kind"].isin(arguments.kinds)])
    console.print(f"features extracted in {time.monotonic() - started:.1f} s in all", highlight=False)
    return pd.concat(tables, ignore_index=True)


def show(table: pd.DataFrame, out: Console) -> None:
    kinds = table["kind"].value_counts()
    out.print(", ".join(f"{count:,} rows of kind {kind}" for kind, count in kinds.items()), highlight=False)
    row = table[table["kind"] == ("project" if "project" in kinds else table["kind"].iloc[-1])].iloc[-1]
    out.print(f"{row['kind']} {row['subject']} at {row['moment']:%Y-%m-%d %H:%M} UTC", highlight=False)
    for feature in FEATURES:
        out.print(f"  {feature.name:<22}{row[feature.name]:>14,.4g}  {feature.unit}", highlight=False)


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an ISO date such as 2026-01-31, got {text!r}") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


if __name__ == "__main__":
    sys.exit(main())
