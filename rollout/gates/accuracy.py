"""Accuracy: whether the canary is right less often than stable.

Where both versions answered the same labelled requests, their answers are compared pair by pair, which takes far
fewer labels; else the shares of right answers of separate requests are. Evidence of both kinds is averaged.
"""

import numpy as np

from rollout.evidence import Evidence
from rollout.gates.bets import between, mean_above
from rollout.policy import Gate


def harm(evidence: Evidence, gate: Gate) -> float:
    """Bet against "the canary is right at most the limit less often than stable"."""
    stable, canary, pairs = evidence.stable, evidence.canary, evidence.pairs
    apart = between(canary.right, canary.labelled, stable.right, stable.labelled, gate.limit)
    paired = mean_above(pairs.worse, pairs.same, pairs.better, gate.limit)
    return _average(evidence, float(apart), float(paired))


def fine(evidence: Evidence, gate: Gate) -> float:
    """Bet against "the canary is right at least the accepted share less often than stable"."""
    stable, canary, pairs = evidence.stable, evidence.canary, evidence.pairs
    apart = between(stable.right, stable.labelled, canary.right, canary.labelled, -gate.accept)
    paired = mean_above(pairs.better, pairs.same, pairs.worse, -gate.accept)
    return _average(evidence, float(apart), float(paired))


def observed(evidence: Evidence) -> str:
    """Phrase what was seen."""
    stable, canary, pairs = evidence.stable, evidence.canary, evidence.pairs
    words = f"right answers: canary {canary.right} of {canary.labelled}, stable {stable.right} of {stable.labelled}"
    if count(evidence) > canary.labelled:
        words += f"; in pairs {pairs.worse} worse, {pairs.better} better, {pairs.same} alike"
    return words


def count(evidence: Evidence) -> int:
    """Return how many labels the gate has of the canary."""
    pairs = evidence.pairs
    return evidence.canary.labelled + pairs.worse + pairs.same + pairs.better


def _average(evidence: Evidence, apart: float, paired: float) -> float:
    # Both are e-processes, whatever depends on what, and so is their mean.
    return float(np.logaddexp(apart, paired) - np.log(2))
