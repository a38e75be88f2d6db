"""Begin a rollout: a new version takes part of its model's traffic, then more, as long as it does no harm.

    python scripts/deploy_canary.py --model signflow --version 2.0 --percentage 5
    python scripts/deploy_canary.py --model signflow --version 2.0 --policy rollout/ab_policy.yaml     # an A/B test
    python scripts/deploy_canary.py --model signflow --version 2.0 --wait       # stay until it has ended, and say how

The archive is the store's, or the registry's; it is inspected and hashed before anything is begun. The controller
beside the server does the rest: watch it with scripts/monitor_canary.py, stop it with scripts/rollback.py. Exit status:
0 begun (with --wait: done), 1 nothing begun (with --wait: rolled back, aborted or failed).
"""

import argparse
import getpass
import sys
import time
from pathlib import Path

from archives.contract import ArchiveError
from archives.registry import RegistryError
from events.database import Database, DatabaseError
from rollout import candidates, rollouts
from rollout.declaration import DeclarationError
from rollout.orders import beginning_with
from rollout.policy import DEFAULT, PolicyError, read_policy
from rollout.rollouts import Rollout, RolloutError
from settings import Settings

LOOK_S = 0.5


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="deploy_canary.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", required=True, help="the new version, such as 2.0")
    parser.add_argument("--percentage", type=float, help="its first share of the traffic (default: the policy's)")
    parser.add_argument("--policy", type=Path, default=DEFAULT, help="how it is rolled out (default: %(default)s)")
    parser.add_argument("--archive", type=Path, help="its archive (default: the store's, else the registry's)")
    parser.add_argument("--who", default=getpass.getuser(), help="who asks, for the ledger (default: %(default)s)")
    parser.add_argument("--wait", action="store_true", help="stay until the rollout has ended")
    options = parser.parse_args(argv)
    if options.percentage is not None and not 0 < options.percentage <= 100:
        parser.error("--percentage: expected a number above 0, up to 100")
    settings = Settings()
    try:
        policy = read_policy(options.policy)
        if options.percentage is not None:
            policy = beginning_with(policy, options.percentage / 100)
        candidate = candidates.find(settings, options.model, options.version, options.archive)
        database = Database(settings.database)
        database.upgrade()
        with database.writing() as connection:
            begun = rollouts.start(connection, candidate, policy, options.who, time.time())
    except (ArchiveError, DatabaseError, DeclarationError, PolicyError, RegistryError, RolloutError) as error:
        print(error, file=sys.stderr)
        return 1
    shares = ", ".join(f"{100 * step.share:g} % for at least {step.at_least_s:g} s" for step in policy.steps)
    print(f"{begun} begun as rollout {begun.id}: {shares}")
    return wait(database, begun) if options.wait else 0


def wait(database: Database, begun: Rollout) -> int:
    """Print where a rollout stands whenever that changes, until it has ended."""
    shown: tuple[str, str] | None = None
    while True:
        with database.reading() as connection:
            now = rollouts.rollout(connection, begun.id)
        if now is None:
            raise RolloutError(f"rollout {begun.id} is no longer in the database")
        if shown != (now.phase, now.note):
            shown = now.phase, now.note
            print(f"{time.strftime('%H:%M:%S')}  {now.phase}: {now.note}", flush=True)
        if now.ended_at is not None:
            return 0 if now.phase == "done" else 1
        time.sleep(LOOK_S)


if __name__ == "__main__":
    sys.exit(main())
