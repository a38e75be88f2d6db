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

from archives.contract import ArchiveError
from archives.registry import RegistryError
from events.database import Database, DatabaseError
from rollout import candidates
from rollout.comparison import Comparison, Side, met, shadow_pairs, stated
from rollout.comparison_report import report, text
from rollout.declaration import DeclarationError
from rollout.evidence import Pairs
from rollout.rollouts import RolloutError
from rollout.same_requests import DataError, ask_both, read_questions
from settings import Settings


@dataclass(frozen=True)
class Named:
    """A version that was named, and its archive where there is one."""

    model: str
    version: str
    archive: Path | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", required=True, metavar="A", help="MODEL:VERSION, or an archive")
    parser.add_argument("--candidate", required=True, metavar="B", help="MODEL:VERSION, or an archive")
    parser.add_argument("--data", type=Path, metavar="FILE", help="labelled requests to ask both, .jsonl")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a page, .html")
    options = parser.parse_args()
    settings = Settings()
    try:
        baseline, candidate = _named(settings, options.baseline), _named(settings, options.candidate)
        found = _compare(settings, baseline, candidate, options.data)
    except (ArchiveError, DatabaseError, DataError, DeclarationError, RegistryError, RolloutError) as error:
        print(error, file=sys.stderr)
        return 1
    print(text(found))
    if options.out:
        options.out.write_text(report(found))
        print(f"\nwritten: {options.out}")
    return 0


def _named(settings: Settings, name: str) -> Named:
    """Find out what is meant; a version without an archive can still be compared by its traffic."""
    model, version, archive = candidates.asked(name)
    try:
        return Named(model, version, candidates.find(settings, model, version, archive).archive)
    except RolloutError as error:
        print(f"{error}\n", file=sys.stderr)
        return Named(model, version, None)


def _compare(settings: Settings, baseline: Named, candidate: Named, data: Path | None) -> Comparison:
    database = Database(settings.database)
    database.upgrade()
    with database.reading() as connection:
        pairs, origin = Pairs(), "shadow traffic"
        if baseline.model == candidate.model:
            pairs = shadow_pairs(connection, baseline.model, baseline.version, candidate.version)
        before, after = (
            Side(
                f"{one.model} {one.version}",
                stated(one.archive) if one.archive else None,
                met(connection, one.model, one.version),
            )
            for one in (baseline, candidate)
        )
    database.close()
    if data is not None:
        if baseline.archive is None or candidate.archive is None:
            raise RolloutError("--data asks both archives, and one is missing.")
        pairs, origin = ask_both(baseline.archive, candidate.archive, read_questions(data)), str(data)
    return Comparison(before, after, pairs, origin)


if __name__ == "__main__":
    sys.exit(main())
