"""The controller: gathers evidence, asks the judge and the machine, and writes what is to be done. Nothing else.

``python -m rollout.controller`` runs beside each server; the one that has the lease acts. Supervisors read what it
writes and bring their servers in line. Each step is one transaction, so it may be killed anywhere: the next one reads
where the rollout stands.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from events.database import AWAY, Database
from events.outage import Outage
from rollout import ledger, machine, replicas, rollouts, verdicts
from rollout.aliases import Aliases
from rollout.evidence import Evidence
from rollout.gathering import Gatherer, stable_p95
from rollout.judge import Verdict, decide
from rollout.lease import Lease
from rollout.premises import say
from rollout.rollouts import Rollout
from rollout.transitions import carry_out
from settings import Settings

TICK_S = 0.5
AWAY_S = 2.0
WHO = "controller"

P95_S = 3600.0
"""Stable's p95 is that of its requests since so long before the rollout began."""

JUMP_S = 2.0
"""A clock that moves by so much more, or less, than time has passed was set."""


class Controller:
    """Takes every open rollout one step on at a time, as long as it has the lease."""

    def __init__(self, database: Database, lease: Lease, tell: Callable[[str], None] = say) -> None:
        self._database = database
        self._lease = lease
        self._tell = tell
        self._gatherer = Gatherer()
        self._judged: dict[int, tuple[Evidence, Verdict]] = {}
        self._leads = False
        self._jumped_s = 0.0

    def step(self, now: float, jumped_s: float = 0.0) -> bool:
        """Take every open rollout one step on.

        Parameters
        ----------
        now
            Seconds since 1970.
        jumped_s
            By how much the clock was set since the last step, whether that succeeded or not. Phases keep the time that
            they have lasted.

        Returns
        -------
        bool
            Whether this controller has the lease; if not, nothing was done.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            One of `events.database.AWAY` when the database is away. Nothing is lost: the step is done again.
        """
        self._jumped_s += jumped_s
        if self._lease.due():
            with self._database.writing() as connection:
                leads = self._lease.take(connection, now)
            if leads and not self._leads:
                self._tell(f"this controller acts ({self._lease.holder})")
            self._leads = leads
        if not self._leads:
            self._jumped_s = 0.0
            return False
        if self._jumped_s:
            self._set_phases()
        with self._database.reading() as connection:
            found = rollouts.open_rollouts(connection)
        for one in found:
            self._take_on(one, now)
        self._judged = {one.id: self._judged[one.id] for one in found if one.id in self._judged}
        return True

    def give_back(self) -> None:
        """Let another controller take over at once."""
        with self._database.writing() as connection:
            self._lease.give_back(connection)

    def _take_on(self, rollout: Rollout, now: float) -> None:
        with self._database.reading() as connection:
            current = rollout
            if rollout.stable_p95_ms is None and rollout.phase != "shadow":
                p95 = stable_p95(connection, rollout.model, rollout.stable, rollout.started_at - P95_S)
                current = replace(rollout, stable_p95_ms=p95)
            judged = None
            if rollout.phase in ("watching", "probation"):
                judged = self._judge(current, self._gatherer.gather(connection, current, now))
            agreed = rollouts.agreed(connection, rollout.id)
            seen = replicas.read(connection, rollout.model)
            step = machine.advance(current, judged and judged[1], now, agreed, seen)
            to_keep = judged is not None and (
                bool(step.action) or verdicts.due(verdicts.last(connection, rollout.id), judged[1], rollout.step, now)
            )
        if step.rollout == rollout and not to_keep:
            return
        with self._database.writing() as connection:
            ledger.lock(connection)
            # Whoever took over meanwhile, or a person who gave an order, comes first; the next step sees to the rest.
            if not self._lease.held(connection) or rollouts.rollout(connection, rollout.id) != rollout:
                return
            number = None
            if judged is not None and to_keep:
                number = verdicts.keep(connection, rollout, *judged, now)
            carry_out(connection, step, WHO, now, number)
        if step.action:
            self._tell(f"{rollout}: {step.action}: {step.why}")

    def _judge(self, rollout: Rollout, evidence: Evidence) -> tuple[Evidence, Verdict]:
        last = self._judged.get(rollout.id)
        if last is None or last[0] != evidence:
            last = self._judged[rollout.id] = evidence, decide(evidence, rollout.policy)
        return last

    def _set_phases(self) -> None:
        with self._database.writing() as connection:
            ledger.lock(connection)
            if self._lease.held(connection):
                for one in rollouts.open_rollouts(connection):
                    rollouts.save(connection, replace(one, phase_since=one.phase_since + self._jumped_s))
        self._tell(f"the clock was set by {self._jumped_s:+.0f} s; no rollout advances by it")
        self._jumped_s = 0.0


def main() -> None:
    """Run until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = Settings()
    database = Database(settings.database)
    lease = Lease("controller", f"{settings.replica_name} {socket.gethostname()} {os.getpid()}")
    controller, aliases = Controller(database, lease), Aliases(settings)
    outage = Outage(say, "rollouts stay as they are")
    clock, passed = time.time(), time.monotonic()
    while not stop.is_set():
        moved_s = (time.time() - clock) - (time.monotonic() - passed)
        clock, passed = time.time(), time.monotonic()
        try:
            if controller.step(clock, moved_s if abs(moved_s) > JUMP_S else 0.0):
                aliases.follow(database)
            outage.end()
        except AWAY as error:
            outage.begin(error)
        stop.wait(AWAY_S if outage.on else TICK_S)
    aliases.stop()
    with contextlib.suppress(*AWAY):
        controller.give_back()


if __name__ == "__main__":
    main()
