"""Latency: whether the canary's p95 is beyond stable's by more than the margin.

Slow is longer than stable's p95, as it was when the rollout began, plus the margin. A canary of which more than one
answer in twenty is slow has its own p95 beyond that. Where stable answers as slowly by now, all of the server is slow,
and the canary is not to blame.
"""

from rollout.evidence import Evidence
from rollout.gates import shares
from rollout.policy import Gate


def harm(evidence: Evidence, gate: Gate) -> float:
    """Bet against "at most the limit's share is slow, or no larger share than of stable's"."""
    return shares.harm(_slow(evidence), gate)


def fine(evidence: Evidence, gate: Gate) -> float:
    """Bet against "at least the accepted share is slow, and a share larger than stable's by the margin"."""
    return shares.fine(_slow(evidence), gate)


def behind(evidence: Evidence) -> float:
    """Bet against "the canary is slow no more often than stable"."""
    return shares.behind(_slow(evidence), 0.0)


def ahead(evidence: Evidence) -> float:
    """Bet against "the canary is slow no less often than stable"."""
    return shares.ahead(_slow(evidence), 0.0)


def observed(evidence: Evidence) -> str:
    """Phrase what was seen."""
    return shares.observed(_slow(evidence), "slow answers")


def count(evidence: Evidence) -> int:
    """Return how many observations the gate has of the canary."""
    return evidence.canary.timed


def _slow(evidence: Evidence) -> shares.Shares:
    stable, canary = evidence.stable, evidence.canary
    return shares.Shares(stable.slow, stable.timed, canary.slow, canary.timed)
