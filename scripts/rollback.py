"""Return a model to the version before, at once.

    python scripts/rollback.py --model signflow --reason "customers complain"

While a rollout is open, probation included, the stable version is still warm: all traffic is its own within the second.
After a rollout's end the version before has to be loaded first; it takes all traffic as soon as it is ready. Where the
last rollout was rolled back, aborted or a rollback itself, the version has to be named with --to.
"""

import argparse
import getpass
import os
import sys
import time
from pathlib import Path

from archives.errors import MarinaError
from marina.processes.console import show
from marina.releases.declarations import Declared
from marina.releases.heads import open_database
from marina.rollout import archive_lookup, operator_commands
from marina.rollout.policy.schema import read_policy
from marina.settings import read_settings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="rollback.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--to", metavar="VERSION", help="a version that served before (default: the one before)")
    parser.add_argument("--reason", default="", help="for the ledger")
    parser.add_argument("--who", default=getpass.getuser(), help="who asks, for the ledger (default: %(default)s)")
    options = parser.parse_args(argv)
    settings = read_settings()

    def find(model: str, version: str, archive: Path, sha256: str) -> Declared:
        return archive_lookup.find(settings, model, version, archive if os.path.isfile(archive) else None, sha256)

    try:
        database = open_database(settings, first=True)
        database.upgrade()
        started = operator_commands.roll_back(
            database, options.model, options.who, options.reason, time.time(), find, read_policy(), options.to
        )
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    if started.phase == "deploying":
        show(f"{started.model}: {started.canary} takes over from {started.stable} as soon as it is ready")
    else:
        show(f"{started.model}: all traffic returns to {started.stable}; {started.canary} is unloaded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
