"""Errors: whether more of the canary's requests fail than may, and than of stable's."""

import numpy as np

from rollout.evidence import Evidence
from rollout.gates.bets import above, below, between
from rollout.policy import Gate


def harm(evidence: Evidence, gate: Gate) -> float:
    """Bet against "at most the limit's share fails, or no larger share than of stable's".

    The lesser of the two e-values, since either excuse is enough; without any request to stable the second cannot be
    examined, and is no excuse.
    """
    stable, canary = evidence.stable, evidence.canary
    absolute = above(canary.errors, canary.requests, gate.limit)
    if not stable.requests:
        return float(absolute)
    return float(np.minimum(absolute, between(stable.errors, stable.requests, canary.errors, canary.requests, 0.0)))


def fine(evidence: Evidence, gate: Gate) -> float:
    """Bet against "at least the accepted share fails, and a share larger than stable's by the margin".

    The margin is what lies between limit and accepted share: a stable version that is ill itself does not keep a
    canary from replacing it.
    """
    stable, canary = evidence.stable, evidence.canary
    absolute = below(canary.errors, canary.requests, gate.accept)
    # Failures of stable exceed the canary's less the margin: the mean of two e-values is an e-value.
    margin = gate.accept - gate.limit
    relative = between(canary.errors, canary.requests, stable.errors, stable.requests, -margin)
    return float(np.logaddexp(absolute, relative) - np.log(2))


def observed(evidence: Evidence) -> str:
    """Phrase what was seen."""
    stable, canary = evidence.stable, evidence.canary
    return f"errors: canary {canary.errors} of {canary.requests}, stable {stable.errors} of {stable.requests}"


def count(evidence: Evidence) -> int:
    """Return how many observations the gate has of the canary."""
    return evidence.canary.requests
