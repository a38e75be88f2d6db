"""What the database says should run goes to the supervisor of this host, and what does run goes to the database.

A thread beside the controller does both; nothing else of a server needs the database to serve. What it read last is
kept in a file beside the declared archives, for a start without the database.
"""

import contextlib
import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from marina.database.connection import Database, DatabaseError
from marina.database.outage import Outage
from marina.database.tables import REPLICAS
from marina.processes.console import log
from marina.processes.guard import Guard
from marina.releases import ledger, replica_status
from marina.releases.declarations import Declaration, Declared
from marina.releases.server_name import Name
from marina.rollout import archive_lookup
from marina.serving.control_socket import ControlClient, ControlError
from marina.settings import Settings

LOOK_S = 0.2
REPORT_S = 2.0  # how often, at least, what runs is reported to the database
AWAY_S = 1.0  # a database that does not answer is left alone for so long
WAIT_MS = 250
SIGN_OFF_S = 2.0

Rows = list[dict[str, object]]


class Following(threading.Thread):
    """Follows the declaration and reports, until it is asked to stop."""

    def __init__(self, settings: Settings, link: ControlClient, notify: Callable[[str], None] | None = None) -> None:
        super().__init__(name="following", daemon=True)
        notify = notify or self._log
        self._database = Database(settings.database, WAIT_MS, first=True)
        self._declaration = Declaration(settings.state_dir / "declared", archive_lookup.trust(settings))
        self._link = link
        self._notify = notify
        self._outage = Outage(notify, "running versions keep serving")
        self._guard = Guard(notify)
        self._name = Name(settings)
        self._upgraded = False
        self._noted: list[Declared] = []
        self._runs: Rows | None = None
        self._reported: Rows | None = None
        self._reported_at = 0.0
        self._done = threading.Event()

    def run(self) -> None:
        """Look five times a second."""
        while not self._done.is_set():
            self.step()
            self._done.wait(AWAY_S if self._outage.on else LOOK_S)
        with contextlib.suppress(sa.exc.SQLAlchemyError), self._database.writing() as connection:
            connection.execute(sa.delete(REPLICAS).where(REPLICAS.c.replica == self._name.name))

    def stop(self) -> None:
        """Report to the database that nothing runs here any more; skipped if it does not answer in time."""
        self._done.set()
        self.join(SIGN_OFF_S)

    def _log(self, words: str) -> None:
        """Tell the operator, in the controller's log and on the supervisor's console."""
        log(words)
        with contextlib.suppress(ControlError):
            self._link.request({"told": words})

    def step(self) -> None:
        """Look once; whatever is unavailable is waited for."""
        with self._guard.part("following the desired versions"):
            try:
                self._follow()
                self._report()
                self._outage.end()
            except (sa.exc.SQLAlchemyError, DatabaseError) as error:
                self._outage.begin(error)

    def _follow(self) -> None:
        self._runs = None
        if not self._upgraded:
            self._upgraded = self._link.request({})["upgraded"]
        if not self._upgraded:  # there was no database that could be used when the server started
            self._database.upgrade()
            self._link.request({"upgraded": True})
        with self._database.reading() as connection:
            declared = self._declaration.read(connection)
        if not declared:
            declared = self._declare_again()
        if declared != self._noted:
            with self._guard.part("noting the desired versions"):
                self._declaration.note(declared)
                self._noted = declared
        self._runs = self._link.follow(declared)["runs"]

    def _declare_again(self) -> list[Declared]:
        """Declare what was served last, where the database is empty: it was lost, or is another one."""
        served = self._declaration.noted()
        if served:
            with self._database.writing(durable=True) as connection:
                ledger.lock(connection)
                if not self._declaration.read(connection):
                    self._declaration.add(connection, served)
                    self._notify(
                        f"the database is empty; desired versions written again: {', '.join(map(str, served))}"
                    )
                served = self._declaration.read(connection)
        return served

    def _report(self) -> None:
        now = time.monotonic()
        if self._runs is None or (self._runs == self._reported and now - self._reported_at < REPORT_S):
            return
        with self._database.writing() as connection:
            other_server = self._name.claim(self._database, connection)
            if not other_server:
                connection.execute(sa.delete(REPLICAS).where(REPLICAS.c.replica == self._name.name))
                mine = {"replica": self._name.name, "seen_at": replica_status.clock(connection)}
                if self._runs:
                    connection.execute(sa.insert(REPLICAS), [row | mine for row in self._runs])
        if not other_server:
            self._reported, self._reported_at = self._runs, now
            return
        self._notify(
            f"another running server is named {self._name.name} ({other_server}), so this one is now "
            f"{self._name.give_up()}. Give each server a name of its own: MARINA_REPLICA"
        )
        self._link.request({"replica": self._name.name})
