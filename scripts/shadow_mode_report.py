"""Report what a shadow has shown: agreement, disagreements, confidence, time, accuracy, and a verdict.

Example
-------
    python scripts/shadow_mode_report.py --model signflow --out shadow.html
    python scripts/shadow_mode_report.py --production signflow:1.0 --shadow signflow:2.0
    python scripts/shadow_mode_report.py --model catalog --version 2.0 --slice language --out shadow.html
"""

import argparse
import sys
from pathlib import Path

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import open_for_report
from marina.database.tables import ROLLOUTS
from marina.processes.console import show
from marina.processes.report_page import write
from marina.rollout import archive_lookup
from marina.rollout.policy.schema import Policy, read_policy
from marina.rollout.reports.shadow_report import report, summary
from marina.rollout.rollouts import RolloutError
from marina.rollout.shadow.pairs import read, slices
from marina.settings import Settings, read_settings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="whose newest shadow")
    parser.add_argument("--production", metavar="A", help="MODEL:VERSION or an archive: who answered users")
    parser.add_argument("--shadow", metavar="B", help="MODEL:VERSION or an archive: who answered copies")
    parser.add_argument("--version", help="the shadow version (default: that of the newest answers)")
    parser.add_argument(
        "--slice", action="append", default=[], metavar="FIELD", help="divide by this field of the input"
    )
    parser.add_argument("--policy", type=Path, help="judge by this policy (default: the rollout's own)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a page, .html")
    options = parser.parse_args(argv)
    if not (options.model or options.shadow):
        parser.error("name --model, or --shadow with MODEL:VERSION")
    settings = read_settings()
    try:
        model, shadow, production = _named(settings, options)
        database = open_for_report(settings.database)
        with database.reading() as connection:
            answers = read(connection, model, shadow, production)
            by_field = {field: slices(connection, answers, field) for field in options.slice}
            policy = (
                read_policy(options.policy) if options.policy else _policy(connection, answers.model, answers.shadow)
            )
        show(summary(answers, by_field, policy))
        if options.out:
            write(options.out, report(answers, by_field, policy))
            show(f"\nwritten: {options.out}")
    except MarinaError as error:
        show(error)
        return 1
    return 0


def _named(settings: Settings, options: argparse.Namespace) -> tuple[str, str | None, str | None]:
    """Return the model, and the versions of shadow and production where they are named."""
    if not options.shadow:
        return options.model, options.version, None
    model, shadow, _ = archive_lookup.asked(settings, options.shadow)
    if not options.production:
        return model, shadow, None
    other, production, _ = archive_lookup.asked(settings, options.production)
    if other != model:
        raise RolloutError(f"--production names {other}, --shadow names {model}: expected two versions of one model")
    return model, shadow, production


def _policy(connection: sa.Connection, model: str, shadow: str) -> Policy:
    """Return the policy of the version's last rollout."""
    chosen = sa.select(ROLLOUTS.c.policy).where(ROLLOUTS.c.model == model, ROLLOUTS.c.canary == shadow)
    kept = connection.execute(chosen.order_by(ROLLOUTS.c.id.desc()).limit(1)).scalar()
    return Policy.model_validate_json(kept) if kept else read_policy()


if __name__ == "__main__":
    sys.exit(main())
