"""The controller: gathers evidence, asks the judge and the state machine, and writes what is to be done.

``python -m marina.rollout.controller`` runs beside each server; the one that has the lease acts. Each step is one
transaction, so it may be killed anywhere: the next one reads the rollout's state. A retreat is reported to the
supervisor of this host before it is written (`marina.serving.control_socket`), so that no other writer of the database
holds it up; other hosts read it.

In threads of their own the process follows what is declared for that supervisor (`marina.rollout.replica_sync`), and
answers what the management API is asked to change (`marina.rollout.management_api`).
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from marina.database.backup_schedule import Nightly
from marina.database.connection import AWAY, Database
from marina.database.outage import Outage
from marina.events.client_tallies import JUDGED
from marina.processes.console import log
from marina.processes.guard import Guard
from marina.releases import ledger, replica_status
from marina.releases.heads import Heads, heads_file, open_database
from marina.releases.lease import Lease
from marina.rollout import rollouts, state_machine, verdicts
from marina.rollout.apply_step import carry_out
from marina.rollout.evidence_query import EvidenceQuery, due, keep
from marina.rollout.judge.decision import Verdict, decide
from marina.rollout.judge.evidence import Evidence, Look
from marina.rollout.management_api import ManagementApi
from marina.rollout.mlflow_aliases import Aliases
from marina.rollout.protocols import EvidenceSource, Judge, Notifier, Router
from marina.rollout.replica_sync import Following
from marina.rollout.rollouts import RETREATS, Rollout
from marina.rollout.stable_latency import MOST_PART, read_stable_latency
from marina.rollout.state_machine import Transition
from marina.serving.control_socket import ControlClient
from marina.serving.run_dir import RunDir
from marina.settings import read_settings

TICK_S = 0.5
AWAY_S = 1.0
WAIT_MS = 2_000
LAST_WAIT_MS = 250
WHO = "controller"

P95_S = 3600.0
"""Stable's p95 is that of its requests since so long before the rollout began."""

JUMP_S = 2.0
"""A clock that moves by this much more, or less, than time has passed was set."""


Retreat = tuple[str, str, str]
"""A model, the canary that is to have none of its traffic, and the version that gets it."""


@dataclass(frozen=True)
class Plan:
    """What is to be done about a rollout, and on which evidence.

    Looks at clients that are due are taken with it, and count from the next step on: when they are written down, so
    that none is taken twice, and no verdict waits for that.
    """

    rollout: Rollout
    transition: Transition
    judged: tuple[Evidence, Verdict] | None
    to_keep: bool
    looks: Mapping[str, Look]

    @property
    def retreat(self) -> Retreat | None:
        """The traffic that it takes from the canary, if it does."""
        if self.rollout.phase in ("watching", "probation") and self.transition.rollout.phase in RETREATS:
            return self.rollout.model, self.rollout.canary, self.rollout.stable
        return None


class Controller:
    """Takes every open rollout one step on at a time, as long as it has the lease.

    Parameters
    ----------
    database, lease
        Where rollouts stand, and who may act.
    report
        How to notify the operator.
    retreat
        How to notify the gateway beside it, at once, that a canary is to have no traffic.
    evidence, judge
        Where evidence comes from (default: the database), and who gives verdicts on it.
    request_timeout_s
        The time limit of requests, by which stable's p95 is bounded.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        report: Notifier = log,
        retreat: Router | None = None,
        evidence: EvidenceSource | None = None,
        judge: Judge = decide,
        request_timeout_s: float = 15.0,
    ) -> None:
        self._database = database
        self._lease = lease
        self._report = report
        self._retreat = retreat
        self._guard = Guard(report)
        self._evidence: EvidenceSource = evidence or EvidenceQuery()
        self._judge = judge
        self._most_p95_ms = 1000 * MOST_PART * request_timeout_s
        self._judged: dict[int, tuple[Evidence, Verdict]] = {}
        self._leads = False
        self._reported: set[str] = set()
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
            One of `marina.database.connection.AWAY` when the database is unavailable. Nothing is lost: the step is done
            again.
        """
        self._jumped_s += jumped_s
        away = None
        if not (self._leads and self._lease.is_recent()):
            try:
                self._take_lease(now)
            except AWAY as error:
                if not self._leads:
                    raise
                away = error  # the one that acted last may take a canary off the traffic meanwhile
        if not self._leads:
            self._jumped_s = 0.0
            return False
        if self._jumped_s and not away:
            self._set_phases()
        plans = self._plans(now)
        for plan in plans:
            if plan.retreat and self._retreat:
                with self._guard.part("sending a rollback to the gateway"):
                    self._retreat(*plan.retreat)
        if away:
            raise away
        for plan in plans:
            with self._guard.part(f"advancing {plan.rollout}", passing=AWAY):
                self._carry_out(plan, now)
        if self._lease.due():  # a gateway has been asked to retreat before this
            self._take_lease(now)
        return self._leads

    def _take_lease(self, now: float) -> None:
        with self._database.writing() as connection:
            leads = self._lease.take(connection, now)
        if leads and not self._leads:
            self._report(f"this controller holds the lease ({self._lease.holder})")
        self._leads = leads

    def _plans(self, now: float) -> list[Plan]:
        with self._database.reading() as connection:
            found = rollouts.open_rollouts(connection, self._report_once)
        plans = []
        for one in found:
            with self._guard.part(f"judging {one}", passing=AWAY):
                plans.append(self._plan(one, now))
        self._judged = {one.id: self._judged[one.id] for one in found if one.id in self._judged}
        return plans

    def _report_once(self, words: str) -> None:
        if words not in self._reported:
            self._reported.add(words)
            self._report(words)

    def _plan(self, rollout: Rollout, now: float) -> Plan:
        with self._database.reading() as connection:
            current, missing_latency = rollout, ""
            if rollout.stable_p95_ms is None and rollout.phase != "shadow":
                since = rollout.started_at - P95_S
                found = read_stable_latency(connection, rollout.model, rollout.stable, since, self._most_p95_ms)
                current, missing_latency = replace(rollout, stable_p95_ms=found.p95_ms), found.missing
            judged: tuple[Evidence, Verdict] | None = None
            taken: dict[str, Look] = {}
            if rollout.phase in JUDGED:
                evidence = self._evidence.gather(connection, rollout, now)
                judged, taken = self._last_verdict(current, evidence), due(connection, rollout, evidence)
            agreed = rollouts.agreed(connection, rollout.id)
            observed = replica_status.read(connection, rollout.model)
            verdict = judged and judged[1]
            transition = state_machine.advance(current, verdict, now, agreed, observed, missing_latency)
            to_keep = judged is not None and (
                bool(transition.action)
                or verdicts.due(verdicts.last(connection, rollout.id), judged[1], rollout.step, now)
            )
        return Plan(rollout, transition, judged, to_keep, taken)

    def _carry_out(self, plan: Plan, now: float) -> None:
        rollout, transition = plan.rollout, plan.transition
        if transition.rollout == rollout and not plan.to_keep and not plan.looks:
            return
        with self._database.writing(durable=bool(transition.action)) as connection:
            ledger.lock(connection)
            # A controller that took over meanwhile, or an operator's command, comes first; the next step sees to the
            # rest.
            if not self._lease.held(connection) or rollouts.rollout(connection, rollout.id) != rollout:
                return
            number = None
            if plan.judged is not None and plan.to_keep:
                number = verdicts.keep(connection, rollout, *plan.judged, now)
            keep(connection, rollout, plan.looks, now)
            carry_out(connection, transition, WHO, now, number)
        if transition.action:
            self._report(f"{rollout}: {transition.action}: {transition.why}")

    def _last_verdict(self, rollout: Rollout, evidence: Evidence) -> tuple[Evidence, Verdict]:
        last = self._judged.get(rollout.id)
        if last is None or last[0] != evidence:
            last = self._judged[rollout.id] = evidence, self._judge(evidence, rollout.policy)
        return last

    def _set_phases(self) -> None:
        with self._database.writing() as connection:
            ledger.lock(connection)
            if self._lease.held(connection):
                for one in rollouts.open_rollouts(connection, self._report_once):
                    rollouts.save(connection, replace(one, phase_since=one.phase_since + self._jumped_s))
        self._report(f"the clock was set by {self._jumped_s:+.0f} s; no rollout advances by it")
        self._jumped_s = 0.0


def main() -> None:
    """Run until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = read_settings()
    database, heads = open_database(settings, WAIT_MS, first=True), Heads(heads_file(settings))
    lease = Lease("controller", f"{settings.replica_name} {socket.gethostname()} {os.getpid()}")
    run_dir = os.environ.get("MARINA_RUN_DIR")
    beside = RunDir(Path(run_dir)) if run_dir else None  # none: it runs beside no server
    link = ControlClient(beside.link_socket) if beside else None
    management = ManagementApi(database, settings, beside.changes_socket) if beside else None
    following = Following(settings, link) if link else None
    if following:
        following.start()
    retreat = link.retreat if link else None
    controller = Controller(database, lease, retreat=retreat, request_timeout_s=settings.request_timeout_s)
    aliases = Aliases(settings)
    nightly, guard = Nightly(settings), Guard(log)
    outage = Outage(log, "rollouts stay as they are")
    clock, passed = time.time(), time.monotonic()
    while not stop.is_set():
        moved_s = (time.time() - clock) - (time.monotonic() - passed)
        clock, passed = time.time(), time.monotonic()
        try:
            with guard.part("controlling rollouts", passing=AWAY):
                if controller.step(clock, moved_s if abs(moved_s) > JUMP_S else 0.0):
                    aliases.follow(database)
                outage.end()
            with guard.part("backing the database up"):
                nightly.follow()
            with guard.part("noting the ledger's heads", passing=AWAY):
                heads.keep(database, log)
        except AWAY as error:
            outage.begin(error)
        stop.wait(AWAY_S if outage.on else TICK_S)
    if management:
        management.stop()
    aliases.stop()
    nightly.stop()
    if following:
        following.stop()
    hasty = Database(settings.database, LAST_WAIT_MS, first=True)
    with contextlib.suppress(*AWAY), hasty.writing() as connection:
        lease.give_back(connection)


if __name__ == "__main__":
    main()
