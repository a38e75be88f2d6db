"""Verdicts as the database keeps them, with what they were based on: enough to give each of them again."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa

from events.tables import VERDICTS
from rollout.evidence import Evidence
from rollout.judge import Verdict, decide
from rollout.policy import Policy
from rollout.rollouts import Rollout

EVERY_S = 10.0
"""A verdict like the last one is kept at most this often."""


def _fingerprint() -> str:
    room = Path(__file__).parent
    sources = [room / "evidence.py", room / "judge.py", *sorted((room / "gates").glob("*.py"))]
    return hashlib.sha256(b"".join(one.read_bytes() for one in sources)).hexdigest()[:12]


JUDGE = _fingerprint()
"""Which judge this is: begin of the SHA-256 of its sources, as they were when this process began."""


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

    def judge(self) -> str:
        """Return which judge gave it."""
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


def findings(verdict: Verdict, judge: str = JUDGE) -> str:
    """Write what the gates of a judge found as JSON; floats in full, so that equal texts mean equal bits."""
    return _canonical([asdict(one) | {"judge": judge} for one in verdict.findings])


@dataclass(frozen=True)
class Replayed:
    """What came of giving verdicts again.

    Attributes
    ----------
    count
        How many there are.
    faults
        One sentence for each that does not come out the same, bit for bit, though the judge is the same.
    by_another
        How many do not because another judge gave them: whether they were changed since cannot be told.
    """

    count: int
    faults: list[str]
    by_another: int


def replay(connection: sa.Connection, rollout: Rollout) -> Replayed:
    """Give every stored verdict of a rollout again, from its evidence and the rollout's policy."""
    count, faults, by_another = 0, [], 0
    for kept in series(connection, rollout.id):
        count += 1
        again = decide(kept.counts(), rollout.policy)
        judge = kept.judge()
        if (again.outcome, findings(again, judge)) == (kept.outcome, kept.findings):
            continue
        if judge != JUDGE:
            by_another += 1
        elif again.outcome != kept.outcome:
            faults.append(f"verdict {kept.id}: {kept.outcome!r} was stored, {again.outcome!r} comes out")
        else:
            faults.append(f"verdict {kept.id}: {kept.outcome!r} again, but from other findings")
    return Replayed(count, faults, by_another)


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
