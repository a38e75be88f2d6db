"""The console's process: pages and the control API, on ``console.sock`` in the folder that MARINA_RUN_DIR names.

    python -m marina.console.service

The gateway passes ``/console`` and the control API's addresses on to it.
"""

import os
import signal
import sys
import time
from pathlib import Path

import uvicorn

from marina.console import people
from marina.console.app import application
from marina.database.connection import AWAY, DatabaseError
from marina.processes.background import step_aside
from marina.processes.console import log
from marina.releases.heads import open_database
from marina.settings import read_settings

NICE = 5
STOP_S = 2
AGAIN_S = 2.0


def main() -> int:
    """Answer until SIGTERM or SIGINT."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit(0))  # uvicorn raises it again once nothing is in flight
    step_aside(NICE)
    settings = read_settings()
    try:
        database = open_database(settings)
    except DatabaseError as error:
        log(f"console: {error}", sys.stderr)
        return 1
    while True:
        try:
            if said := people.ensure_first(database, settings, time.time()):
                log(f"console: {said}", sys.stderr)
            break
        except AWAY as error:
            log(f"console: the database is unavailable, trying again: {error}", sys.stderr)
            time.sleep(AGAIN_S)
    app = application(database, settings)
    app.state.context.figures.keep(lambda text: log(f"console: {text}", sys.stderr))
    uvicorn.run(
        app,
        uds=str(Path(os.environ["MARINA_RUN_DIR"]) / "console.sock"),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=STOP_S,
        server_header=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
