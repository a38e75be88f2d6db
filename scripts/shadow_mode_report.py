"""Report what a shadow has shown: agreement, disagreements, confidence, time, accuracy, and a verdict.

Example
-------
    python scripts/shadow_mode_report.py --model signflow --out shadow.html
    python scripts/shadow_mode_report.py --model catalog --version 2.0 --slice language --out shadow.html
"""

import argparse
import sys
from pathlib import Path

import sqlalchemy as sa

from events.database import Database, DatabaseError
from events.tables import ROLLOUTS
from rollout.agreement import NoPairsError, read, slices
from rollout.policy import Policy, read_policy
from rollout.shadow_report import report, summary
from settings import Settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", help="the silent version (default: that of the newest answers)")
    parser.add_argument(
        "--slice", action="append", default=[], metavar="FIELD", help="divide by this field of the input"
    )
    parser.add_argument("--policy", type=Path, help="judge by this policy (default: the rollout's own)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a page, .html")
    options = parser.parse_args()
    try:
        database = Database(Settings().database)
        with database.reading() as connection:
            answers = read(connection, options.model, options.version)
            by_field = {field: slices(connection, answers, field) for field in options.slice}
            policy = (
                read_policy(options.policy) if options.policy else _policy(connection, answers.model, answers.shadow)
            )
    except (NoPairsError, DatabaseError) as error:
        print(error)
        return 1
    print(summary(answers, by_field, policy))
    if options.out:
        options.out.write_text(report(answers, by_field, policy))
        print(f"\nwritten: {options.out}")
    return 0


def _policy(connection: sa.Connection, model: str, shadow: str) -> Policy:
    """Return the policy of the version's last rollout."""
    chosen = sa.select(ROLLOUTS.c.policy).where(ROLLOUTS.c.model == model, ROLLOUTS.c.canary == shadow)
    kept = connection.execute(chosen.order_by(ROLLOUTS.c.id.desc()).limit(1)).scalar()
    return Policy.model_validate_json(kept) if kept else read_policy()


if __name__ == "__main__":
    sys.exit(main())
