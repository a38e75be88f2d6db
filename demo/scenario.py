"""A scenario: one version after the other is released to simulated clients, by the commands a person would type.

For the demo. It controls nothing that a person could not, and records what clients observed beside the
judge's verdicts.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from archives.errors import MarinaError
from demo.simulated_clients import Clients, Seen
from marina.database.connection import Database
from marina.database.tables import SHADOW_PAIRS
from marina.rollout import rollouts, verdicts
from marina.rollout.judge.decision import Finding
from marina.rollout.judge.evidence import Evidence
from marina.rollout.rollouts import Rollout
from marina.settings import ROOT

LOOK_S = 0.5

Report = Callable[[str], None]


FAILED = (422, 500)
"""What clients who send only good requests are answered when a version fails on one, and no other stands in for it."""


class RehearsalError(MarinaError):
    """A command failed; the message is what it said."""


@dataclass(frozen=True)
class Release:
    """How a release ended.

    Attributes
    ----------
    rollout
        As it ended.
    evidence, findings
        What the last verdict went by, and what each gate found in it.
    decided_at
        When that was, in seconds since 1970.
    seen
        Every request that was sent from its start to its end, as the clients saw it.
    """

    rollout: Rollout
    evidence: Evidence
    findings: tuple[Finding, ...]
    decided_at: float
    seen: tuple[Seen, ...]

    @property
    def version(self) -> str:
        """The version that was released."""
        return self.rollout.canary

    @property
    def gates(self) -> list[str]:
        """The gates that found harm."""
        return [one.gate for one in self.findings if one.is_against]

    @property
    def odds(self) -> float:
        """The strongest gate's evidence of harm, as odds against its being none."""
        return math.exp(min(700.0, max((one.log_harm for one in self.findings), default=0.0)))

    @property
    def own_errors(self) -> list[Seen]:
        """Requests that this version itself failed on."""
        return [one for one in self.seen if self._is_own(one)]

    @property
    def other_failures(self) -> list[Seen]:
        """Requests that failed for any other reason: there should be none."""
        return [one for one in self.seen if one.status != 200 and not self._is_own(one)]

    @property
    def obeyed_s(self) -> float:
        """Seconds from the last verdict to the last request that this version answered; 0 if none came after."""
        return max([0.0, *(one.sent - self.decided_at for one in self.seen if one.version == self.version)])

    @property
    def wavering(self) -> list[str]:
        """Sessions that changed versions more often than the traffic was moved: there should be none.

        A growing canary takes a session once, and a rollback gives it back once.
        """
        moved: dict[str, list[str]] = {}
        for one in sorted(self.seen, key=lambda one: one.sent):
            versions = moved.setdefault(one.session, [])
            if one.version and versions[-1:] != [one.version]:
                versions.append(one.version)
        most = 2 if self.rollout.phase == "done" else 3
        return [session for session, versions in moved.items() if len(versions) > most]

    @property
    def harmed_s(self) -> float:
        """Seconds from the first bad request to the last one that this version answered.

        The first bad one is the first that it failed on; where it fails on none, the first that it answered.
        """
        sent = [one.sent for one in self.seen if one.version == self.version]
        first = min((one.sent for one in self.own_errors), default=min(sent, default=0.0))
        return max(sent) - first if sent else 0.0

    def _is_own(self, one: Seen) -> bool:
        return one.status in FAILED and one.version == self.version


class Rehearsal:
    """Releases versions of one model on a running server, while its clients ask."""

    def __init__(self, database: Database, clients: Clients, report: Report, show: Report) -> None:
        """Nothing starts yet.

        Parameters
        ----------
        database
            Of the server. The environment names it too, with the store, for the commands.
        clients
            Of the model; they ask already.
        report
            Takes each thing that happened, a line of words.
        show
            Takes what is the case now, several times a second.
        """
        self.database = database
        self._clients = clients
        self._report = report
        self._show = show
        self._model = clients.model

    def command(self, script: str, *arguments: str) -> str:
        """Run one of the project's scripts as a person would; return what it printed.

        Raises
        ------
        RehearsalError
            If it fails.
        """
        where = ["-m", "marina.rollout"] if script == "rollout" else [str(ROOT / "scripts" / script)]
        done = subprocess.run(
            [sys.executable, *where, *arguments],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RehearsalError(f"{script} {' '.join(arguments)}: {done.stdout}{done.stderr}".strip())
        return done.stdout.strip()

    def shadow(self, version: str, share: float, pairs: int, limit_s: float) -> int:
        """Let a version answer in shadow until that many answers can be compared; return how many there are."""
        self._report(self.command("rollout", "shadow", "start", "--model", self._model, "--version", version,
                                "--share", str(share)))  # fmt: skip
        end, count = time.monotonic() + limit_s, 0
        while count < pairs and time.monotonic() < end:
            time.sleep(LOOK_S)
            with self.database.reading() as connection:
                chosen = sa.select(sa.func.count()).select_from(SHADOW_PAIRS).where(SHADOW_PAIRS.c.shadow == version)
                count = int(connection.execute(chosen).scalar_one())
            self._show(f"{version} in shadow: {count} answers to compare")
        return count

    def release(self, version: str, policy: Path, limit_s: float) -> Release:
        """Release a version and wait for the end; one that is not decided in time is aborted."""
        started = time.time()
        self._report(self.command("deploy_canary.py", "--model", self._model, "--version", version,
                                "--policy", str(policy)))  # fmt: skip
        aborted, shown = False, ("", 0)
        while True:
            with self.database.reading() as connection:
                now = rollouts.last_rollout_of(connection, self._model)
                last = verdicts.last(connection, now.id) if now else None
            assert now is not None  # it was begun above
            if shown != (now.phase, now.step):
                shown = now.phase, now.step
                words = rollouts.describe(now)
                self._report(f"{now.phase}: {words}" if words else now.phase)
            evidence = last.counts() if last else Evidence()
            if now.ended_at is not None:
                break
            self._show(f"{version} {now.phase}: {_counts(evidence)}")
            if not aborted and time.time() - started > limit_s:
                why = f"undecided after {limit_s:g} s"
                self.command("rollout", "abort", "--model", self._model, "--reason", why)
                aborted = True
            time.sleep(LOOK_S)
        time.sleep(2 * LOOK_S)  # what is on its way is seen too
        seen = tuple(one for one in list(self._clients.seen) if started <= one.sent <= now.ended_at)
        decided_at = last.time if last else now.ended_at
        return Release(now, evidence, last.verdict().findings if last else (), decided_at, seen)

    def wait(self, seconds: float, what: str) -> None:
        """Let the clients ask for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._show(f"{what}: {left:.0f} s")
            time.sleep(min(left, LOOK_S))


def _counts(evidence: Evidence) -> str:
    canary = evidence.canary
    words = f"{canary.requests} requests, {canary.errors} errors, {canary.slow} slow"
    return words + (f", {canary.right} of {canary.labelled} right" if canary.labelled else "")
