"""Verdicts as the database keeps them, with what they were based on: enough to give each of them again."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa

from marina.database.tables import VERDICTS
from marina.releases.ledger import canonical
from marina.rollout.judge import JUDGE_VERSION
from marina.rollout.judge.decision import Finding, Outcome, Verdict, decide
from marina.rollout.judge.evidence import Evidence
from marina.rollout.judge.gate import TEST
from marina.rollout.policy.schema import Policy
from marina.rollout.rollouts import Rollout

EVERY_S = 10.0
"""A verdict like the last one is kept at most this often."""


@dataclass(frozen=True)
class Kept:
    """A verdict's row. `evidence` and `findings` are the JSON texts that were stored."""

    id: int
    time: float
    step: int
    outcome: Outcome
    evidence: str
    findings: str

    def counts(self) -> Evidence:
        """Return the evidence it was based on."""
        return Evidence.from_dict(json.loads(self.evidence))

    def verdict(self) -> Verdict:
        """Return it as it was given, whatever a judge of today would say."""
        return Verdict(self.outcome, tuple(_finding(one) for one in json.loads(self.findings)))

    def judge(self) -> str:
        """Return which judge gave it: its number; from before there were numbers, a hash of its source."""
        return str(json.loads(self.findings)[0]["judge"])


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
        "evidence": canonical(evidence.to_dict()),
        "findings": findings(verdict),
    }
    number = connection.execute(sa.insert(VERDICTS).values(row)).inserted_primary_key
    assert number is not None
    return int(number[0])


def digest(connection: sa.Connection, number: int) -> str | None:
    """Return the SHA-256 of a verdict's row: of what was found, on which evidence; None where it is gone."""
    columns = [VERDICTS.c[name] for name in ("id", "rollout", "time", "step", "outcome", "evidence", "findings")]
    row = connection.execute(sa.select(*columns).where(VERDICTS.c.id == number)).one_or_none()
    return hashlib.sha256(canonical(dict(row._mapping)).encode()).hexdigest() if row else None


def last(connection: sa.Connection, rollout: int) -> Kept | None:
    """Return a rollout's latest verdict."""
    return next(_read(connection, rollout, VERDICTS.c.id.desc()), None)


def series(connection: sa.Connection, rollout: int) -> Iterator[Kept]:
    """Read all verdicts of a rollout, in the order in which they were given."""
    return _read(connection, rollout, VERDICTS.c.id)


def findings(verdict: Verdict, judge: str = JUDGE_VERSION) -> str:
    """Write what the gates of a judge found as JSON; floats in full, so that equal texts mean equal bits."""
    stored = [asdict(one) | {"outcome": _STORED.get(one.outcome, one.outcome)} for one in verdict.findings]
    for one in stored:
        if not one["missing"]:  # as a judge wrote it that knew of nothing to lack
            del one["missing"]
    return canonical([one | {"judge": judge} for one in stored], allow_infinite=True)


@dataclass(frozen=True)
class Replay:
    """What came of giving verdicts again.

    Attributes
    ----------
    count
        How many there are.
    faults
        One sentence for each that does not come out the same, bit for bit, though the judge is the same.
    by_another
        How many do not because another judge gave them: whether they were changed since is unknown.
    """

    count: int
    faults: list[str]
    by_another: int


def replay(connection: sa.Connection, rollout: Rollout) -> Replay:
    """Give every stored verdict of a rollout again, from its evidence and the rollout's policy."""
    count, faults, by_another = 0, [], 0
    for kept in series(connection, rollout.id):
        count += 1
        again = decide(kept.counts(), rollout.policy)
        judge = kept.judge()
        if (again.outcome, findings(again, judge)) == (kept.outcome, kept.findings):
            continue
        if judge != JUDGE_VERSION:
            by_another += 1
        elif again.outcome != kept.outcome:
            faults.append(f"verdict {kept.id}: {kept.outcome!r} was stored, {again.outcome!r} is computed")
        else:
            faults.append(f"verdict {kept.id}: {kept.outcome!r} again, but from other findings")
    return Replay(count, faults, by_another)


@dataclass(frozen=True)
class SimulatedDecision:
    """When a policy would have decided on recorded evidence; `outcome` is the last one where it would not have."""

    outcome: str
    after_s: float
    requests: int
    reason: str


def simulate(connection: sa.Connection, rollout: Rollout, policy: Policy) -> SimulatedDecision | None:
    """Judge recorded evidence by another policy, up to its first decision.

    What would have come after cannot be known: traffic would have gone other ways. Slow answers stay counted against
    the margin of the policy in force then.

    Returns
    -------
    SimulatedDecision or None
        None when no verdict was recorded.
    """
    decision = None
    for kept in series(connection, rollout.id):
        evidence = kept.counts()
        verdict = decide(evidence, policy)
        after_s = kept.time - (rollout.watched_since or rollout.started_at)
        decision = SimulatedDecision(
            verdict.outcome, max(0.0, after_s), round(evidence.canary.requests), verdict.reason
        )
        if verdict.outcome != "keep watching":
            break
    return decision


_STORED = {"worse": "harm", "better": "fine"}
_READ = {"harm": "worse", "fine": "better"}
"""What a test found is stored under a gate's words."""

_FIELDS = tuple(one.name for one in fields(Finding))


def _finding(values: dict[str, Any]) -> Finding:
    known = {"missing": ""} | {name: values[name] for name in _FIELDS if name in values}
    if known["gate"] == TEST:
        known["outcome"] = _READ.get(known["outcome"], known["outcome"])
    return Finding(**known)


def _read(connection: sa.Connection, rollout: int, order: sa.ColumnElement[int]) -> Iterator[Kept]:
    columns = [VERDICTS.c[name] for name in ("id", "time", "step", "outcome", "evidence", "findings")]
    for row in connection.execute(sa.select(*columns).where(VERDICTS.c.rollout == rollout).order_by(order)):
        yield Kept(**row._mapping)
