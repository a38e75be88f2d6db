"""Verdicts as the database keeps them, with what they were based on: enough to give each of them again."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from events.tables import VERDICTS
from rollout.evidence import Evidence
from rollout.judge import Verdict, decide
from rollout.policy import Policy
from rollout.rollouts import Rollout

EVERY_S = 10.0
"""A verdict like the last one is kept at most this often."""


@dataclass(frozen=True)
class Kept:
    """A verdict's row. `evidence` and `findings` are the JSON texts that were stored."""

    id: int
    time: float
    step: int
    outcome: str
    evidence: str
    findings: str

    def counts(self) -> Evidence:
        """Return the evidence it was based on."""
        return Evidence.from_dict(json.loads(self.evidence))


def due(last: Kept | None, verdict: Verdict, step: int, now: float) -> bool:
    """Say whether a verdict is to be kept: it says something else than the last one, or that is `EVERY_S` old."""
    return last is None or (last.outcome, last.step) != (verdict.outcome, step) or abs(now - last.time) >= EVERY_S


def keep(connection: sa.Connection, rollout: Rollout, evidence: Evidence, verdict: Verdict, now: float) -> int:
    """Write a verdict down; return its number."""
    row = {
        "rollout": rollout.id,
        "time": now,
        "step": rollout.step,
        "outcome": verdict.outcome,
        "evidence": _canonical(evidence.to_dict()),
        "findings": findings(verdict),
    }
    number = connection.execute(sa.insert(VERDICTS).values(row)).inserted_primary_key
    assert number is not None
    return int(number[0])


def last(connection: sa.Connection, rollout: int) -> Kept | None:
    """Return a rollout's latest verdict."""
    return next(_read(connection, rollout, VERDICTS.c.id.desc()), None)


def series(connection: sa.Connection, rollout: int) -> Iterator[Kept]:
    """Read all verdicts of a rollout, in the order in which they were given."""
    return _read(connection, rollout, VERDICTS.c.id)


def findings(verdict: Verdict) -> str:
    """Write what the gates found as JSON; floats in full, so that equal texts mean equal bits."""
    return _canonical([asdict(one) for one in verdict.findings])


def replay(connection: sa.Connection, rollout: Rollout) -> tuple[int, list[str]]:
    """Give every stored verdict of a rollout again, from its evidence and the rollout's policy.

    Returns
    -------
    count
        How many there are.
    faults
        One sentence for each that does not come out the same, bit for bit.
    """
    count, faults = 0, []
    for kept in series(connection, rollout.id):
        count += 1
        again = decide(kept.counts(), rollout.policy)
        if again.outcome != kept.outcome:
            faults.append(f"verdict {kept.id}: {kept.outcome!r} was stored, {again.outcome!r} comes out")
        elif findings(again) != kept.findings:
            faults.append(f"verdict {kept.id}: {kept.outcome!r} again, but from other findings")
    return count, faults


@dataclass(frozen=True)
class Decision:
    """When a policy would have decided on recorded evidence; `outcome` is the last one where it would not have."""

    outcome: str
    after_s: float
    requests: int
    reason: str


def simulate(connection: sa.Connection, rollout: Rollout, policy: Policy) -> Decision | None:
    """Judge recorded evidence by another policy, up to its first decision.

    What would have come after cannot be known: traffic would have gone other ways. Slow answers stay counted against
    the margin of the policy in force then.

    Returns
    -------
    Decision or None
        None when no verdict was recorded.
    """
    decision = None
    for kept in series(connection, rollout.id):
        evidence = kept.counts()
        verdict = decide(evidence, policy)
        after_s = kept.time - (rollout.watched_since or rollout.started_at)
        decision = Decision(verdict.outcome, max(0.0, after_s), evidence.canary.requests, verdict.reason)
        if verdict.outcome != "keep watching":
            break
    return decision


def _read(connection: sa.Connection, rollout: int, order: sa.ColumnElement[int]) -> Iterator[Kept]:
    columns = [VERDICTS.c[name] for name in ("id", "time", "step", "outcome", "evidence", "findings")]
    for row in connection.execute(sa.select(*columns).where(VERDICTS.c.rollout == rollout).order_by(order)):
        yield Kept(**row._mapping)


def _canonical(values: object) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"))
