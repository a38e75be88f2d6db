"""Return a model to the version before, at once.

    python scripts/rollback.py --model signflow --reason "customers complain"

While a rollout is open, probation included, the stable version is still warm: all traffic is its own within the second.
After a rollout's end the version before has to be loaded first; it takes all traffic as soon as it is ready. Where the
last rollout was rolled back, aborted or a rollback itself, the version has to be named with --to.
"""

import argparse
import getpass
import sys
import time
from pathlib import Path

from archives.contract import ArchiveError
from archives.registry import RegistryError
from events.database import Database, DatabaseError
from rollout import candidates, orders
from rollout.declaration import DeclarationError, Declared
from rollout.policy import PolicyError, read_policy
from rollout.rollouts import RolloutError
from settings import Settings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="rollback.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--to", metavar="VERSION", help="a version that served before (default: the one before)")
    parser.add_argument("--reason", default="", help="for the ledger")
    parser.add_argument("--who", default=getpass.getuser(), help="who asks, for the ledger (default: %(default)s)")
    options = parser.parse_args(argv)
    settings = Settings()

    def find(model: str, version: str, archive: Path, sha256: str) -> Declared:
        return candidates.find(settings, model, version, archive if archive.is_file() else None, sha256)

    try:
        database = Database(settings.database)
        database.upgrade()
        begun = orders.roll_back(
            database, options.model, options.who, options.reason, time.time(), find, read_policy(), options.to
        )
    except (ArchiveError, DatabaseError, DeclarationError, PolicyError, RegistryError, RolloutError) as error:
        print(error, file=sys.stderr)
        return 1
    if begun.phase == "deploying":
        print(f"{begun.model}: {begun.canary} takes over from {begun.stable} as soon as it is ready")
    else:
        print(f"{begun.model}: all traffic returns to {begun.stable}; {begun.canary} is unloaded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
