"""Shares that ought to be small, of one version beside another's: the gates of errors and latency."""

from dataclasses import dataclass

import numpy as np

from rollout.gates.bets import above, below, between
from rollout.policy import Gate


@dataclass(frozen=True)
class Shares:
    """How many of each version's requests went wrong in one way.

    Attributes
    ----------
    stable, canary
        How many did.
    of_stable, of_canary
        How many there were.
    """

    stable: int
    of_stable: int
    canary: int
    of_canary: int


def harm(shares: Shares, gate: Gate) -> float:
    """Bet against "the canary's share is at most the limit, or no larger than stable's".

    The lesser of the two e-values, since either excuse is enough; without any request to stable the second cannot be
    examined, and is no excuse.
    """
    absolute = float(above(shares.canary, shares.of_canary, gate.limit))
    return min(absolute, behind(shares, 0.0)) if shares.of_stable else absolute


def fine(shares: Shares, gate: Gate) -> float:
    """Bet against "the canary's share is at least what is accepted, and larger than stable's by the margin".

    The margin is what lies between limit and accepted share: a stable version that is ill itself does not keep a
    canary from replacing it. The mean of two e-values is an e-value.
    """
    absolute = float(below(shares.canary, shares.of_canary, gate.accept))
    relative = ahead(shares, gate.limit - gate.accept)
    return float(np.logaddexp(absolute, relative) - np.log(2))


def behind(shares: Shares, by: float) -> float:
    """Bet against "the canary's share is larger than stable's by at most so much"."""
    return float(between(shares.stable, shares.of_stable, shares.canary, shares.of_canary, by))


def ahead(shares: Shares, by: float) -> float:
    """Bet against "the canary's share is smaller than stable's by at most so much"."""
    return float(between(shares.canary, shares.of_canary, shares.stable, shares.of_stable, by))


def observed(shares: Shares, what: str) -> str:
    """Phrase what was seen."""
    return f"{what}: canary {shares.canary} of {shares.of_canary}, stable {shares.stable} of {shares.of_stable}"
