"""The watcher: holds what is answered against what each archive was trained on, and opens an alert when it drifts.

    python -m marina.monitoring.watcher

It runs beside each server; of those that share a database, the one with the lease acts. While the database is
unavailable it waits, and catches up. docs/MONITORING.md says what it watches, and what its alarms are worth.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time

from marina.database.connection import AWAY, Database, DatabaseError
from marina.database.outage import Outage
from marina.monitoring import detector_rows, drift_reports
from marina.monitoring.drift_watch import MOST_BATCHES, DriftWatch
from marina.monitoring.live_versions import Live, LiveVersions
from marina.processes.background import step_aside
from marina.processes.console import log
from marina.processes.guard import Guard
from marina.releases.lease import RENEW_S, Lease
from marina.settings import Settings, read_settings

LOOK_S = 5.0
AWAY_S = 2.0
REPORT_S = 60.0
"""How often it is asked whether a report is due."""
REST = 20
"""Reports take one part in so many of the time: those of millions of answers come less often."""
NICE = 10
NAME = "watcher"


class Watcher:
    """Takes every live version's answers, as long as it has the lease."""

    def __init__(self, settings: Settings, database: Database, lease: Lease) -> None:
        self._settings = settings
        self._database = database
        self._lease = lease
        self._watch = DriftWatch(database, lease, settings.drift_batch_requests)
        self._versions = LiveVersions(settings)
        self._guard = Guard(_log)
        self._unreadable: dict[str, str] = {}
        self._report_at = 0.0

    def step(self, now: float) -> bool:
        """Take what has come since the last step.

        Returns
        -------
        bool
            Whether there is more to take at once.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            One of `marina.database.connection.AWAY` when the database is unavailable.
        """
        with self._database.writing() as connection:
            if not self._lease.take(connection, now):
                return False
        with self._database.reading() as connection:
            live = self._versions.find(connection, now)
        self._report_unreadable()
        more = False
        for one in live:
            with self._guard.part(f"watching {one.version.model} {one.version.version}", passing=AWAY):
                more |= self._watch.step(one.version, now) >= MOST_BATCHES
                self._renew(now)
        if time.monotonic() >= self._report_at and not more:
            began = time.monotonic()
            for one in live:
                with self._guard.part(f"reporting on {one.version.model} {one.version.version}", passing=AWAY):
                    self._report(one, now)
                    self._renew(now)
            ended = time.monotonic()
            self._report_at = ended + max(REPORT_S, REST * (ended - began))
        return more

    def _report(self, one: Live, now: float) -> None:
        version, chosen = one.version, self._settings
        with self._database.reading() as connection:
            watched = detector_rows.read(connection, version.model, version.version, version.sha256, version.watchlist)
        drift_reports.store_if_due(
            self._database, version, one.held_out, watched, now, chosen.drift_report_hour, chosen.drift_report_requests
        )

    def _renew(self, now: float) -> None:
        if self._lease.due():
            with self._database.writing() as connection:
                self._lease.take(connection, now)

    def _report_unreadable(self) -> None:
        for name, why in self._versions.unreadable.items():
            if self._unreadable.get(name) != why:
                _log(f"{name} is not watched: {why}")
        self._unreadable = dict(self._versions.unreadable)


def _log(text: str) -> None:
    log(f"watcher: {text}", sys.stderr)


def main() -> int:
    """Run until SIGTERM; the batch in progress is finished."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    step_aside(NICE)
    settings = read_settings()
    try:
        database = Database(settings.database)
    except DatabaseError as error:
        _log(str(error))
        return 1
    lease = Lease(NAME, f"{settings.replica_name} {socket.gethostname()} {os.getpid()}")
    watcher, guard = Watcher(settings, database, lease), Guard(_log)
    outage = Outage(_log, "drift is looked for later; answers stay in the log until then")
    while not stop.is_set():
        more = False
        try:
            with guard.part("watching", passing=AWAY):
                more = watcher.step(time.time())
            outage.end()
        except AWAY as error:
            outage.begin(error)
        end = time.monotonic() + (AWAY_S if outage.on else 0.0 if more else LOOK_S)
        while not stop.is_set() and (left := end - time.monotonic()) > 0:
            stop.wait(min(left, RENEW_S))
            with contextlib.suppress(*AWAY):
                if lease.is_recent() and lease.due():
                    with database.writing() as connection:
                        lease.take(connection, time.time())
    with contextlib.suppress(*AWAY), database.writing() as connection:
        lease.give_back(connection)
    database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
