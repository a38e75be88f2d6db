"""Delete what is past keeping: predictions, labels, counts and inputs, where no running server does so.

    python scripts/retention.py

Predictions are kept for MARINA_RETENTION_DAYS, inputs for MARINA_INPUT_RETENTION_DAYS. A server that runs deletes as
it goes along; this does the same once. With `--json` the last line is the result.
"""

import argparse
import json
import sys
import time

from archives.errors import MarinaError
from marina.events.retention import forget
from marina.processes.console import show
from marina.releases.heads import open_database
from marina.settings import read_settings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="retention.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(argv)
    settings = read_settings()
    kept: list[str] = []
    try:
        database = open_database(settings, first=True)
        try:
            database.upgrade()
            batches = forget(database, time.time(), settings.retention_days, settings.input_retention_days, kept.append)
            deleted = sum(batches)
        finally:
            database.close()
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    for why in kept:
        show(why, sys.stderr)
    show(f"{deleted:,} rows were deleted")
    if options.json:
        print(json.dumps({"deleted": deleted}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
