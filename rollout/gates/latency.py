"""Latency: whether the canary's p95 is beyond stable's by more than the margin.

Slow is longer than stable's p95, as it was when the rollout began, plus the margin. A canary of which more than one
answer in twenty is slow has its own p95 beyond that.
"""

from rollout.evidence import Evidence
from rollout.gates.bets import above, below
from rollout.policy import Gate


def harm(evidence: Evidence, gate: Gate) -> float:
    """Bet against "at most the limit's share is slow"."""
    return float(above(evidence.canary.slow, evidence.canary.timed, gate.limit))


def fine(evidence: Evidence, gate: Gate) -> float:
    """Bet against "at least the accepted share is slow"."""
    return float(below(evidence.canary.slow, evidence.canary.timed, gate.accept))


def observed(evidence: Evidence) -> str:
    """Phrase what was seen."""
    return f"slow answers: canary {evidence.canary.slow} of {evidence.canary.timed}"


def count(evidence: Evidence) -> int:
    """Return how many observations the gate has of the canary."""
    return evidence.canary.timed
