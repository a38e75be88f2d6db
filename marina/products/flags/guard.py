"""Guarded flags: rolled out step by step by the judge of versions, on the product's own measures.

`step` is called every few seconds by whatever process there is; several may. Each action is one transaction that first
looks whether the guard is still where it was, so it is done once, and a process may be killed anywhere.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from marina.database.connection import AWAY, Database
from marina.database.flag_tables import FLAG_GUARDS, FLAG_OUTCOMES, FLAG_TRUTHS
from marina.database.outage import Outage
from marina.processes import guard as parts
from marina.processes.console import log
from marina.products.flags import table
from marina.products.flags.guard_evidence import Looks, gather
from marina.products.flags.table import FlagError
from marina.releases import ledger
from marina.rollout.judge import JUDGE_VERSION
from marina.rollout.judge.decision import Verdict, decide
from marina.rollout.judge.evidence import Evidence
from marina.rollout.policy.schema import Policy, parse_policy, read_policy

POLICY = Path(__file__).with_name("guard.yaml")
WHO = "flag guard"
EVERY_S = 5.0
KEPT_S = 30 * 86_400.0
"""Outcomes of a guard that ended are kept so long after they came."""
WATCHING, DONE, ROLLED_BACK = "watching", "done", "rolled back"


@dataclass(frozen=True)
class Guarded:
    """A flag's guard, as it stands.

    Attributes
    ----------
    id, flag
        Which guard of which flag.
    policy
        By what it is judged.
    phase
        ``watching``, ``done``, ``rolled back``, or ``stopped`` by a person.
    step, step_since
        The policy's step, and since when (seconds since 1970).
    started_at
        When it began.
    looks
        The last looks at its units, as JSON.
    note
        Why it is in this phase or step.
    """

    id: int
    flag: str
    policy: Policy
    phase: str
    step: int
    step_since: float
    started_at: float
    looks: str
    note: str

    @property
    def share(self) -> float:
        """The share of the units for which the flag is on in this step."""
        return self.policy.steps[self.step].share


def start(
    connection: sa.Connection, name: str, who: str, why: str, now: float, policy: Policy | None = None
) -> Guarded:
    """Begin to roll a flag out, at the share of the policy's first step.

    Parameters
    ----------
    connection
        A writing transaction of `marina.releases.heads.open_database`.
    name, who, why
        Which flag, who wants it, and the reason.
    now
        Seconds since 1970.
    policy
        By what it is judged; None: `POLICY`.

    Raises
    ------
    FlagError
        When a guard rolls it out already, or anything of it cannot be.
    """
    policy = policy or read_policy(POLICY)
    table.check(name, who, why)
    ledger.lock(connection)
    flag = table.read_flag(connection, name)
    if flag.guard is not None:
        raise FlagError(f"{name} is rolled out by guard {flag.guard} already; stop it: scripts/flags.py set {name} off")
    if policy.test is not None or policy.approvals:
        raise FlagError("a guard's policy has neither a test nor approvals: its steps are taken by the judge")
    share = policy.steps[0].share
    text = policy.model_dump_json()
    values = {"flag": name, "policy": text, "phase": WATCHING, "step": 0, "looks": "{}", "note": why}
    added = sa.insert(FLAG_GUARDS).values(values | {"step_since": now, "started_at": now})
    [number] = connection.execute(added).inserted_primary_key or [0]
    table.write(connection, replace(flag, share=share, reason=why, changed_at=now, changed_by=who, guard=number))
    digest = hashlib.sha256(text.encode()).hexdigest()
    said = {"from": flag.share, "to": share, "why": why, "guard": number, "guard_policy_sha256": digest}
    ledger.append(connection, who, table.GUARD, ledger.FLAG + name, said, now)
    return read(connection, number)


def read(connection: sa.Connection, number: int) -> Guarded:
    """Read a guard."""
    row = connection.execute(sa.select(FLAG_GUARDS).where(FLAG_GUARDS.c.id == number)).one()
    return _guarded(row)


def latest(connection: sa.Connection, name: str | None = None) -> list[Guarded]:
    """Read the guards of a flag, or of all, the newest first."""
    query = sa.select(FLAG_GUARDS).order_by(FLAG_GUARDS.c.id.desc()).limit(100)
    return [
        _guarded(row) for row in connection.execute(query if name is None else query.where(FLAG_GUARDS.c.flag == name))
    ]


def _guarded(row: Any) -> Guarded:
    values = dict(row._mapping)
    return Guarded(**values | {"policy": parse_policy(values["policy"])})


@dataclass(frozen=True)
class Judged:
    """A guard, what is known of its flag, what the judge makes of it, and where it stands next."""

    before: Guarded
    evidence: Evidence
    verdict: Verdict
    after: Guarded

    @property
    def share(self) -> float:
        """For which share of the units the flag is on after it."""
        return 0.0 if self.after.phase == ROLLED_BACK else self.after.share

    @property
    def acts(self) -> bool:
        """Whether anything but the looks changes."""
        return (self.after.phase, self.after.step) != (self.before.phase, self.before.step)


def judge(connection: sa.Connection, one: Guarded, now: float) -> Judged:
    """Judge a guarded flag; nothing is changed."""
    evidence, looks = gather(connection, one.id, one.step, one.policy, Looks.read(one.looks, one.step))
    verdict = decide(evidence, one.policy)
    kept = replace(one, looks=looks.write())
    return Judged(one, evidence, verdict, advance(kept, verdict, now))


def advance(one: Guarded, verdict: Verdict, now: float) -> Guarded:
    """Return where a guard stands after a verdict: a pure function."""
    if one.phase != WATCHING:
        return one
    if verdict.outcome == "roll back":
        return replace(one, phase=ROLLED_BACK, note=verdict.reason)
    if verdict.outcome != "promote" or now - one.step_since < one.policy.steps[one.step].at_least_s:
        return one
    if one.step + 1 == len(one.policy.steps):
        return replace(one, phase=DONE, note=verdict.reason)
    return replace(one, step=one.step + 1, step_since=now, note=verdict.reason)


def step(database: Database, now: float, report: Callable[[str], None] = log) -> list[Judged]:
    """Take every guarded flag one step on.

    Parameters
    ----------
    database
        Of `marina.releases.heads.open_database`.
    now
        Seconds since 1970.
    report
        How to notify the operator.

    Returns
    -------
    list of Judged
        What was done.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        One of `marina.database.connection.AWAY` when the database is unavailable: it is done the next time.
    """
    with database.reading() as connection:
        found = [_guarded(row) for row in connection.execute(_watching())]
        judged = [judge(connection, one, now) for one in found]
    done = []
    for one in judged:
        if one.after != one.before and _carry_out(database, one, now) and one.acts:
            done.append(one)
            report(f"flag {one.after.flag}: {_words(one)}: {one.after.note}")
    return done


def _watching() -> sa.Select[Any]:
    return sa.select(FLAG_GUARDS).where(FLAG_GUARDS.c.phase == WATCHING).order_by(FLAG_GUARDS.c.id)


def _carry_out(database: Database, one: Judged, now: float) -> bool:
    with database.writing(durable=one.acts) as connection:
        ledger.lock(connection)
        if read(connection, one.before.id) != one.before:  # another process, or a person, came first
            return False
        values = {name: getattr(one.after, name) for name in ("phase", "step", "step_since", "looks", "note")}
        connection.execute(sa.update(FLAG_GUARDS).where(FLAG_GUARDS.c.id == one.before.id).values(values))
        if not one.acts:
            return True
        flag = table.read_flag(connection, one.before.flag)
        over = one.after.phase != WATCHING
        table.write(
            connection,
            replace(
                flag,
                share=one.share,
                reason=one.after.note,
                changed_at=now,
                changed_by=WHO,
                guard=None if over else flag.guard,
            ),
        )
        said = {
            "from": flag.share,
            "to": one.share,
            "why": one.after.note,
            "guard": one.before.id,
            "judge": JUDGE_VERSION,
            "evidence": one.evidence.to_dict(),
        }
        ledger.append(connection, WHO, table.GUARD, ledger.FLAG + flag.name, said, now)
    return True


def _words(one: Judged) -> str:
    if one.after.phase == WATCHING:
        return f"on for {100 * one.share:g} %"
    return "rolled back to 0 %" if one.after.phase == ROLLED_BACK else "on for all"


def prune(database: Database, now: float) -> None:
    """Delete outcomes of guards that ended, and what feedback said of old items."""
    old = now - KEPT_S
    open_ones = sa.select(FLAG_GUARDS.c.id).where(FLAG_GUARDS.c.phase == WATCHING)
    with database.writing() as connection:
        ended = (FLAG_OUTCOMES.c.time < old) & FLAG_OUTCOMES.c.guard.not_in(open_ones)
        connection.execute(sa.delete(FLAG_OUTCOMES).where(ended))
        if connection.execute(open_ones).first() is None:
            connection.execute(sa.delete(FLAG_TRUTHS).where(FLAG_TRUTHS.c.time < old))


class GuardLoop:
    """Calls `step` in a thread of its own, and `prune` once a day."""

    def __init__(self, database: Database, report: Callable[[str], None] | None = None) -> None:
        self._database = database
        self._report = report or (lambda text: log(f"flags: {text}", sys.stderr))
        self._outage = Outage(self._report, "guarded flags stay as they are")
        self._guard = parts.Guard(self._report)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flag guards", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step that is under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pruned = -KEPT_S
        while not self._stop.is_set():
            now = time.time()
            try:
                with self._guard.part("judging guarded flags", passing=AWAY):
                    step(self._database, now, self._report)
                if now - pruned > 86_400:
                    pruned = now
                    with self._guard.part("deleting old outcomes", passing=AWAY):
                        prune(self._database, now)
                self._outage.end()
            except AWAY as error:
                self._outage.begin(error)
            self._stop.wait(EVERY_S)
