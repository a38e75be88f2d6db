"""Watch a rollout in the terminal: traffic, gates, evidence, verdict, and what it still needs.

    python scripts/monitor_canary.py --model signflow
    python scripts/monitor_canary.py --model signflow --duration 3600
    python scripts/monitor_canary.py --model signflow --once      # one frame, for logs

Everything comes from the database (MARINA_DATABASE_URL), so it can run wherever that can be reached. Ctrl-C ends it.
"""

import argparse
import contextlib
import math
import sys
import time

import sqlalchemy as sa
from rich.console import Console, RenderableType
from rich.live import Live

from events.database import Database, DatabaseError
from rollout.monitor import drawn, look
from settings import Settings

EVERY_S = 1.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="monitor_canary.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--duration", type=float, default=math.inf, metavar="S", help="end after so many seconds")
    parser.add_argument("--once", action="store_true", help="print one frame and end")
    options = parser.parse_args(argv)
    console = Console()
    try:
        database = Database(Settings().database)
        database.upgrade()
    except DatabaseError as error:
        print(error, file=sys.stderr)
        return 1
    if options.once:
        console.print(frame(database, options.model))
    else:
        end = time.monotonic() + options.duration
        with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
            while (left := end - time.monotonic()) > 0:
                live.update(frame(database, options.model), refresh=True)
                time.sleep(min(EVERY_S, left))
    database.close()
    return 0


def frame(database: Database, model: str) -> RenderableType:
    try:
        with database.reading() as connection:
            return drawn(look(connection, model, time.time()))
    except sa.exc.OperationalError as error:
        return f"The database is away; waiting for it. {str(error).splitlines()[0]}"


if __name__ == "__main__":
    sys.exit(main())
