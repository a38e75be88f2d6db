"""Promote a registered version if its metric is good enough, and better than that of the version that serves.

    python scripts/promote.py --model catalog --version 2.0
    python scripts/promote.py --model catalog --version 2.0 --metric accuracy --at-least 0.8
    python scripts/promote.py --model code_impact --version 2.0 --metric rmse --at-most 0.2
    python scripts/promote.py --model catalog --version 2.0 --now     # all traffic at once, and watched anyway

A promoted version goes through a rollout: watch it with scripts/monitor_canary.py. Any other is archived: it stays in
the registry. Decision and reason are printed, kept in the ledger, and noted on the version in MLflow. Exit status: 0
promoted, 3 archived, 1 nothing decided.
"""

import argparse
import getpass
import sys
import time
from pathlib import Path

from archives.errors import MarinaError
from marina.processes.console import show
from marina.releases.heads import open_database
from marina.rollout.operator_commands import at_once
from marina.rollout.policy.schema import read_policy
from marina.rollout.promotion import Rule, promote
from marina.settings import read_settings

ARCHIVED = 3


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="promote.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", required=True, help="a registered version, such as 2.0")
    parser.add_argument("--metric", default=Rule.metric, help="as training logs it (default: %(default)s)")
    limits = parser.add_mutually_exclusive_group()
    limits.add_argument("--at-least", type=float, help=f"the least it must be (default: {Rule.bound})")
    limits.add_argument("--at-most", type=float, help="the most it may be, for metrics of which less is better")
    parser.add_argument("--now", action="store_true", help="give it all traffic as soon as it is ready")
    parser.add_argument("--allow-quick", action="store_true", help="even if it was trained with --quick")
    parser.add_argument("--policy", type=Path, help="how it is rolled out (default: MARINA_ROLLOUT_POLICY's)")
    parser.add_argument("--who", default=getpass.getuser(), help="who asks, for the ledger (default: %(default)s)")
    options = parser.parse_args(argv)
    settings = read_settings()
    if options.at_most is not None:
        rule = Rule(options.metric, options.at_most, less_is_better=True, quick=options.allow_quick)
    else:
        bound = Rule.bound if options.at_least is None else options.at_least
        rule = Rule(options.metric, bound, quick=options.allow_quick)
    try:
        policy = read_policy(options.policy or settings.rollout_policy)
        if options.now:
            policy = at_once(policy)
        database = open_database(settings, first=True)
        database.upgrade()
        decision = promote(database, settings, options.model, options.version, rule, policy, options.who, time.time())
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    show(f"{options.model} {options.version} {'promoted' if decision.promoted else 'archived'}: {decision.reason}")
    return 0 if decision.promoted else ARCHIVED


if __name__ == "__main__":
    sys.exit(main())
