"""Watch a rollout in the terminal: traffic, gates, evidence, verdict, and what it still needs.

    python scripts/monitor_canary.py --duration 3600              # the one open rollout
    python scripts/monitor_canary.py --model signflow
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
from rich.text import Text

from archives.errors import MarinaError
from marina.database.connection import Database, open_for_report
from marina.processes.console import plain, show
from marina.rollout.rollouts import RolloutError, open_rollouts
from marina.rollout.terminal_view import look, render
from marina.settings import read_settings

EVERY_S = 1.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="monitor_canary.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="whose rollout (default: the one that is open)")
    parser.add_argument("--duration", type=float, default=math.inf, metavar="S", help="end after this many seconds")
    parser.add_argument("--once", action="store_true", help="print one frame and end")
    options = parser.parse_args(argv)
    console = Console()
    try:
        database = open_for_report(read_settings().database)
        model = options.model or find_open(database)
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    if options.once:
        console.print(frame(database, model))
    else:
        end = time.monotonic() + options.duration
        with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
            while (left := end - time.monotonic()) > 0:
                live.update(frame(database, model), refresh=True)
                time.sleep(min(EVERY_S, left))
    database.close()
    return 0


def find_open(database: Database) -> str:
    """Return the model of the one open rollout.

    Raises
    ------
    marina.rollout.rollouts.RolloutError
        When there is none, or more than one.
    """
    with database.reading() as connection:
        models = [one.model for one in open_rollouts(connection, lambda _: None)]
    if len(models) != 1:
        found = f"rollouts of {', '.join(sorted(models))} are open" if models else "no rollout is open"
        raise RolloutError(f"{found}: name a model with --model")
    return models[0]


def frame(database: Database, model: str) -> RenderableType:
    try:
        with database.reading() as connection:
            return render(look(connection, model, time.time()))
    except sa.exc.OperationalError as error:
        return Text(plain(f"The database is unavailable; waiting for it. {str(error).splitlines()[0]}"))


if __name__ == "__main__":
    sys.exit(main())
