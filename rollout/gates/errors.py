"""Errors: whether more of the canary's requests fail than may, and than of stable's."""

from rollout.evidence import Evidence
from rollout.gates import shares
from rollout.policy import Gate


def harm(evidence: Evidence, gate: Gate) -> float:
    """Bet against "at most the limit's share fails, or no larger share than of stable's"."""
    return shares.harm(_failed(evidence), gate)


def fine(evidence: Evidence, gate: Gate) -> float:
    """Bet against "at least the accepted share fails, and a share larger than stable's by the margin"."""
    return shares.fine(_failed(evidence), gate)


def behind(evidence: Evidence) -> float:
    """Bet against "the canary fails no more often than stable"."""
    return shares.behind(_failed(evidence), 0.0)


def ahead(evidence: Evidence) -> float:
    """Bet against "the canary fails no less often than stable"."""
    return shares.ahead(_failed(evidence), 0.0)


def observed(evidence: Evidence) -> str:
    """Phrase what was seen."""
    return shares.observed(_failed(evidence), "errors")


def count(evidence: Evidence) -> int:
    """Return how many observations the gate has of the canary."""
    return evidence.canary.requests


def _failed(evidence: Evidence) -> shares.Shares:
    stable, canary = evidence.stable, evidence.canary
    return shares.Shares(stable.errors, stable.requests, canary.errors, canary.requests)
