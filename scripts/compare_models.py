"""Compare two versions: what their archives state, what users met, and who is right on the same requests.

A version is MODEL:VERSION, whose archive is looked for in the store and the registry, or the path of an archive.
``--data`` asks both the same labelled requests, each on a server of its own: lines of {"input": {...}, "label": "..."}.

Example
-------
    python scripts/compare_models.py --baseline signflow:1.0 --candidate signflow:2.0 --out comparison.html
    python scripts/compare_models.py --baseline catalog:1.0 --candidate new/catalog-2.0.mar --data held_out.jsonl
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from archives.errors import MarinaError
from marina.database.connection import Database, NoDatabaseError, open_for_report
from marina.processes.console import show
from marina.processes.report_page import write
from marina.rollout import archive_lookup
from marina.rollout.judge.evidence import Pairs
from marina.rollout.reports.comparison import Comparison, Side, count_observed, describe_archive, shadow_pairs
from marina.rollout.reports.comparison_page import report, text
from marina.rollout.reports.paired_evaluation import ask_both, read_questions
from marina.rollout.rollouts import RolloutError
from marina.settings import Settings, read_settings


@dataclass(frozen=True)
class Named:
    """A version that was named, and its archive where there is one."""

    model: str
    version: str
    archive: Path | None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", required=True, metavar="A", help="MODEL:VERSION, or an archive")
    parser.add_argument("--candidate", required=True, metavar="B", help="MODEL:VERSION, or an archive")
    parser.add_argument("--data", type=Path, metavar="FILE", help="labelled requests to send to both, .jsonl")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a page, .html")
    options = parser.parse_args(argv)
    settings = read_settings()
    try:
        baseline, candidate = _named(settings, options.baseline), _named(settings, options.candidate)
        found = _compare(settings, baseline, candidate, options.data)
        show(text(found))
        if options.out:
            write(options.out, report(found))
            show(f"\nwritten: {options.out}")
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    return 0


def _named(settings: Settings, name: str) -> Named:
    """Find out what is meant; a version without an archive can still be compared by its traffic."""
    model, version, archive = archive_lookup.asked(settings, name)
    try:
        return Named(model, version, archive_lookup.find(settings, model, version, archive).archive)
    except RolloutError as error:
        show(f"{error}\n", sys.stderr)
        return Named(model, version, None)


def _compare(settings: Settings, baseline: Named, candidate: Named, data: Path | None) -> Comparison:
    try:
        database = open_for_report(settings.database)
    except NoDatabaseError:
        if baseline.archive is None or candidate.archive is None:
            raise
        database = Database("sqlite://")  # archives are compared by what they state: no traffic yet
        database.upgrade()
    with database.reading() as connection:
        pairs, origin = Pairs(), "shadow traffic"
        if baseline.model == candidate.model:
            pairs = shadow_pairs(connection, baseline.model, baseline.version, candidate.version)
        before, after = (
            Side(
                f"{one.model} {one.version}",
                describe_archive(one.archive) if one.archive else None,
                count_observed(connection, one.model, one.version),
            )
            for one in (baseline, candidate)
        )
    database.close()
    if data is not None:
        if baseline.archive is None or candidate.archive is None:
            raise RolloutError("--data sends requests to both archives, and one is missing.")
        pairs, origin = ask_both(baseline.archive, candidate.archive, read_questions(data)), str(data)
    return Comparison(before, after, pairs, origin)


if __name__ == "__main__":
    sys.exit(main())
