"""Begin a rollout: a new version takes part of its model's traffic, then more, as long as it does no harm.

    python scripts/deploy_canary.py --model signflow --percentage 10                    # the newest in the store
    python scripts/deploy_canary.py --model new/signflow-2.0.mar --percentage 10
    python scripts/deploy_canary.py --model signflow --version 2.0 --percentage 5
    python scripts/deploy_canary.py --model signflow --version 2.0 --policy marina/rollout/policy/ab_test.yaml    # A/B
    python scripts/deploy_canary.py --model market_alerts --policy marina/rollout/policy/ab_test.yaml --metric f1
    python scripts/deploy_canary.py --model signflow --version 2.0 --wait       # stay until it has ended, and say how
    python scripts/deploy_canary.py --model signflow --version 2.0 --once       # nothing, where that was begun before

The archive is the store's, or the registry's; it is inspected and hashed before anything is begun. The controller
beside the server does the rest: watch it with scripts/monitor_canary.py, stop it with scripts/rollback.py. Exit status:
0 begun (with --wait: done), 1 nothing begun (with --wait: rolled back, aborted or failed); with --once, whose last line
is JSON, 6 while another rollout of the model is open.
"""

import argparse
import getpass
import json
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.database.tables import ROLLOUTS
from marina.pipelines import commands
from marina.processes.console import show
from marina.releases import ledger
from marina.releases.heads import open_database
from marina.rollout import archive_lookup, rollouts
from marina.rollout.operator_commands import start_with_share
from marina.rollout.policy.schema import METRICS, read_policy, with_metric
from marina.rollout.rollouts import Rollout, RolloutError, RolloutOpenError
from marina.settings import read_settings

LOOK_S = 0.5


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="deploy_canary.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="the model, MODEL:VERSION, or an archive's path")
    parser.add_argument("--version", help="the new version, such as 2.0 (default: the newest in the store)")
    parser.add_argument("--percentage", type=float, help="its first share of the traffic (default: the policy's)")
    parser.add_argument("--policy", type=Path, help="how it is rolled out (default: MARINA_ROLLOUT_POLICY's)")
    parser.add_argument("--metric", choices=METRICS, help="by which an A/B test is decided (default: the policy's)")
    parser.add_argument("--archive", type=Path, help="its archive (default: the store's, else the registry's)")
    parser.add_argument("--who", default=getpass.getuser(), help="who asks, for the ledger (default: %(default)s)")
    parser.add_argument("--wait", action="store_true", help="wait until the rollout has ended")
    parser.add_argument("--once", action="store_true", help="begin none where one of this version was begun before")
    options = parser.parse_args(argv)
    if options.percentage is not None and not 0 < options.percentage <= 100:
        parser.error("--percentage: expected a number above 0, up to 100")
    settings = read_settings()
    try:
        policy = read_policy(options.policy or settings.rollout_policy)
        if options.metric:
            policy = with_metric(policy, options.metric)
        if options.percentage is not None:
            policy = start_with_share(policy, options.percentage / 100)
        named = (options.model, options.version, None)
        model, version, path = named if options.version else archive_lookup.asked(settings, options.model)
        candidate = archive_lookup.find(settings, model, version, options.archive or path)
        database = open_database(settings, first=True)
        database.upgrade()
        with database.writing(durable=True) as connection:
            ledger.lock(connection)
            before = begun(connection, model, version) if options.once else None
            started = before or rollouts.start(connection, candidate, policy, options.who, time.time())
    except RolloutOpenError as error:
        show(error, sys.stderr)
        return commands.WAIT if options.once else 1
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    shares = ", ".join(f"{100 * step.share:g} % for at least {step.at_least_s:g} s" for step in policy.steps)
    show(f"{started} {'was' if before else ''} started as rollout {started.id}: {shares}".replace("  ", " "))
    if options.once:
        print(json.dumps({"model": model, "version": version, "outcome": "canary", "rollout": started.id}))
    return wait(database, started) if options.wait else 0


def begun(connection: sa.Connection, model: str, version: str) -> Rollout | None:
    """Return the newest rollout by which a version was to be released; None where there was none."""
    mine = (ROLLOUTS.c.model == model, ROLLOUTS.c.canary == version)
    number = connection.execute(sa.select(sa.func.max(ROLLOUTS.c.id)).where(*mine)).scalar()
    return None if number is None else rollouts.rollout(connection, number)


def wait(database: Database, started: Rollout) -> int:
    """Print where a rollout stands whenever that changes, until it has ended."""
    shown: tuple[str, str] | None = None
    while True:
        with database.reading() as connection:
            now = rollouts.rollout(connection, started.id)
        if now is None:
            raise RolloutError(f"rollout {started.id} is no longer in the database")
        if shown != (now.phase, rollouts.describe(now)):
            shown = now.phase, rollouts.describe(now)
            show(f"{time.strftime('%H:%M:%S')}  {shown[0]}: {shown[1]}")
        if now.ended_at is not None:
            return 0 if now.phase == "done" else 1
        time.sleep(LOOK_S)


if __name__ == "__main__":
    sys.exit(main())
