"""Extract the 35 features of code health from a local git repository.

    python scripts/extract_code_features.py ~/src/project                                  # today, printed
    python scripts/extract_code_features.py ~/src/project --at 2026-01-01 --out health.csv
    python scripts/extract_code_features.py ~/src/project --every 90 --kinds file commit --labels --out health.parquet
    python scripts/extract_code_features.py ~/src/project --to-store --project my-id       # as of now, to be served

A row is a source file or the project at a date, or a commit as it arrived; docs/families/code_health_features.md
defines the columns, docs/FEATURES.md the store. Nothing is checked out, and no row looks past its date. What was
measured once is kept in a cache.
"""

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from rich.console import Console

from archives.errors import MarinaError
from marina.features.sources import write_code_health
from marina.features.store import open_store
from marina.processes.files import write_atomically
from marina.settings import read_settings
from models.code_health.changes import DAY_S
from models.code_health.features import FEATURES
from training.code_health.mining.extract import Extractor
from training.code_health.mining.file_metrics import Cache
from training.code_health.mining.git import escaped
from training.code_health.mining.history import ENDINGS, Repository, read_history
from training.code_health.mining.szz import repairs
from training.code_health.mining.targets import labels

KINDS = ("file", "project", "commit")
WRITERS = {
    ".parquet": lambda table, file: table.to_parquet(file, index=False),
    ".csv": lambda table, file: table.to_csv(file, index=False, float_format="%.7g"),
    ".gz": lambda table, file: table.to_csv(file, index=False, float_format="%.7g", compression="gzip"),
}
NAMED = 20
"""Commits left out that are named one by one."""


class ExtractionError(MarinaError):
    """There is nothing to describe, or nowhere to write it."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "repository", type=Path, metavar="REPO", help="a work tree or a git directory, whole and with its history"
    )
    parser.add_argument("--at", type=_moment, metavar="DATE", help="ISO date, 00:00 UTC (default: the last commit)")
    parser.add_argument(
        "--every", type=int, metavar="DAYS", help="files and project also every DAYS days back from then"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS[:2], help="what to describe (default: file project)"
    )
    parser.add_argument("--labels", action="store_true", help="add each row's outcome, read from later history")
    parser.add_argument("--revision", default="HEAD", help="tip of the main line (default: %(default)s)")
    parser.add_argument("--project", help="name of the project in the table (default: the repository's folder)")
    parser.add_argument("--jobs", type=int, help="processes that measure code (default: one per core)")
    parser.add_argument("--cache", type=Path, help="SQLite file of measures (default: in the state folder)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=".parquet, .csv or .csv.gz (default: print the project)"
    )
    parser.add_argument(
        "--to-store",
        action="store_true",
        help="write the rows to the feature store, by default as of now: the project as its name (--project)",
    )
    arguments = parser.parse_args(argv)
    if arguments.to_store and arguments.at is None:
        arguments.at = int(time.time())
    if arguments.out is not None and arguments.out.suffix not in WRITERS:
        parser.error(f"expected --out to end in {', '.join(WRITERS)}, got {arguments.out}")
    if arguments.every is not None and arguments.every < 1:
        parser.error(f"expected --every of at least 1 day, got {arguments.every}")
    if arguments.jobs is not None and arguments.jobs < 1:
        parser.error(f"expected --jobs of at least 1 process, got {arguments.jobs}")
    if arguments.at is not None and arguments.at > time.time():
        parser.error(f"expected --at until now, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, got a later date")
    console = Console(stderr=True, soft_wrap=True)
    try:
        if arguments.out is not None:
            check_writable(arguments.out)  # before the work, which may take hours
        table = extract(arguments, console)
        if arguments.to_store:
            keep(table, console)
        if arguments.out is None:
            show(table, Console(soft_wrap=True))
        else:
            write(table, arguments.out)
            console.print(f"wrote {len(table):,} rows to {arguments.out}", highlight=False, markup=False)
    except (MarinaError, ValueError) as error:
        console.print(str(error), style="red", highlight=False, markup=False)
        return 1
    return 0


def check_writable(file: Path) -> None:
    if file.is_dir():
        raise ExtractionError(f"--out {file} is a folder: name a file in it, such as {file / 'health.parquet'}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise _unwritable(file, error) from error


def write(table: pd.DataFrame, file: Path) -> None:
    try:
        write_atomically(file, lambda opened: WRITERS[file.suffix](table, opened))
    except OSError as error:
        raise _unwritable(file, error) from error


def keep(table: pd.DataFrame, console: Console) -> None:
    store = open_store(read_settings())
    added, online = 0, True
    for project, rows in table.groupby("project"):
        moments_s = rows["moment"].map(lambda moment: moment.timestamp()).to_list()
        written = write_code_health(
            store, str(project), rows["kind"].to_list(), rows["subject"].to_list(), moments_s,
            rows[[feature.name for feature in FEATURES]].to_numpy("float32"),
        )  # fmt: skip
        added, online = added + written.added, online and written.online
    console.print(f"{len(table):,} rows in the feature store, {added:,} of them new", highlight=False)
    if not online:
        console.print("Redis does not answer: they are served from the database until it does", style="yellow")


def _unwritable(file: Path, error: OSError) -> ExtractionError:
    return ExtractionError(
        f"cannot write --out {file}: {error.strerror or error}. Name a file in a folder that can be written and has "
        "space; what was measured is kept in the cache"
    )


def extract(arguments: argparse.Namespace, console: Console) -> pd.DataFrame:
    started = time.monotonic()
    repository = read_history(arguments.repository, arguments.revision, console)
    console.print(f"{len(repository.hashes):,} commits read in {time.monotonic() - started:.1f} s", highlight=False)
    report_misdated(repository, console)
    shown = escaped(str(arguments.repository))
    if not repository.changes:
        raise ExtractionError(
            f"no source file in the history of {shown}: expected files that end in "
            f"{', '.join(sorted(ENDINGS))}, outside vendor/, node_modules/ and third_party/"
        )
    times = repository.history.time_s
    last = int(times[-1]) if arguments.at is None else arguments.at
    moments = range(last, int(times[0]) - 1, -arguments.every * DAY_S) if arguments.every else [last]
    folder = repository.objects.folder
    name = arguments.project or (folder.parent if folder.name == ".git" else folder).name.removesuffix(".git")
    found = repairs(repository, console) if arguments.labels else None
    tables = []
    with Cache(arguments.cache or read_settings().state_dir / "code_measures.sqlite") as cache:
        extractor = Extractor(repository, cache, arguments.jobs, console)
        described = [extractor.files(moments)] if {"file", "project"} & set(arguments.kinds) else []
        described += [extractor.commits(last)] if "commit" in arguments.kinds else []
        for rows in described:
            table = rows.frame(name or "project")
            if found is not None:
                table = pd.concat([table, labels(repository, rows, found)], axis=1)
            tables.append(table[table["kind"].isin(arguments.kinds)])
    console.print(f"features extracted in {time.monotonic() - started:.1f} s in all", highlight=False)
    whole = pd.concat(tables, ignore_index=True)
    if whole.empty:
        raise ExtractionError(
            f"no row: {shown} has no {' or '.join(arguments.kinds)} with source by {_utc(last)}; its commits are of "
            f"{_utc(int(times[0]))} to {_utc(int(times[-1]))}. Name a later date with --at, or other --kinds"
        )
    return whole


def report_misdated(repository: Repository, console: Console) -> None:
    said = [f"  {name}: {why}" for name, why in repository.misdated.items()]
    if not said:
        return
    more = [f"  and {len(said) - NAMED:,} more"] if len(said) > NAMED else []
    lines = [
        f"left out {len(said):,} {'commit' if len(said) == 1 else 'commits'} whose date is impossible; the changes "
        "count from the next commit of the main line on:",
        *said[:NAMED],
        *more,
    ]
    console.print("\n".join(lines), style="yellow", highlight=False, markup=False)


def show(table: pd.DataFrame, out: Console) -> None:
    kinds = table["kind"].value_counts()
    out.print(", ".join(f"{count:,} rows of kind {kind}" for kind, count in kinds.items()), highlight=False)
    row = table[table["kind"] == ("project" if "project" in kinds else table["kind"].iloc[-1])].iloc[-1]
    out.print(f"{row['kind']} {row['subject']} at {row['moment']:%Y-%m-%d %H:%M} UTC", highlight=False, markup=False)
    for feature in FEATURES:
        out.print(f"  {feature.name:<22}{row[feature.name]:>14,.4g}  {feature.unit}", highlight=False)


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an ISO date such as 2026-01-31, got {text!r}") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _utc(moment_s: int) -> str:
    return f"{datetime.fromtimestamp(max(moment_s, 0), UTC):%Y-%m-%d %H:%M} UTC"


if __name__ == "__main__":
    sys.exit(main())
