"""Accuracy: whether the canary is right less often than stable.

Where both versions answered the same labelled requests, their answers are compared pair by pair, which takes far
fewer labels; else the shares of right answers of separate requests are. Either may decide.
"""

import numpy as np

from rollout.evidence import Evidence
from rollout.gates.bets import between, mean_above
from rollout.policy import Gate


def harm(evidence: Evidence, gate: Gate) -> float:
    """Bet against "the canary is right at most the limit less often than stable"."""
    return behind(evidence, gate.limit)


def fine(evidence: Evidence, gate: Gate) -> float:
    """Bet against "the canary is right at least the accepted share less often than stable"."""
    return ahead(evidence, -gate.accept)


def behind(evidence: Evidence, by: float = 0.0) -> float:
    """Bet against "stable is right at most so much more often than the canary"."""
    stable, canary, pairs = evidence.stable, evidence.canary, evidence.pairs
    apart = between(canary.right, canary.labelled, stable.right, stable.labelled, by)
    paired = mean_above(pairs.worse, pairs.same, pairs.better, by)
    return _either(float(apart), float(paired))


def ahead(evidence: Evidence, by: float = 0.0) -> float:
    """Bet against "the canary is right at most so much more often than stable"."""
    stable, canary, pairs = evidence.stable, evidence.canary, evidence.pairs
    apart = between(stable.right, stable.labelled, canary.right, canary.labelled, by)
    paired = mean_above(pairs.better, pairs.same, pairs.worse, by)
    return _either(float(apart), float(paired))


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


def _either(apart: float, paired: float) -> float:
    # Half of the error budget each, which holds whatever the two have to do with each other. Their mean would not: a
    # request may have its label in one before it becomes a pair in the other, whose bet on it is then no longer fair.
    return max(apart, paired) - float(np.log(2))
