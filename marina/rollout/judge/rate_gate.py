"""Rates that ought to be small, of one version beside another's: the gates of errors and latency.

A rate of requests is held against the limit: that of the clients that the canary has. Whether it is the canary's doing
is another question, and asked of clients: which ones it has is chance (`marina.rollout.judge.client_ranks`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from marina.rollout.judge import client_looks
from marina.rollout.judge.e_values import above, below, between
from marina.rollout.judge.either import either
from marina.rollout.judge.evidence import Counts, Evidence, Look
from marina.rollout.policy.schema import Bounds


@dataclass(frozen=True)
class Rate:
    """Which counts make a rate, and which look at the clients goes with it.

    Attributes
    ----------
    wrong, of
        What goes wrong, and of what.
    look
        The name of the look in `Evidence.looks`.
    """

    wrong: Callable[[Counts], float]
    of: Callable[[Counts], float]
    look: str


OWN_ERRORS = Rate(lambda counts: counts.errors, lambda counts: counts.requests, "errors")
"""The failures that stable does not share: only those of the canary are asked of stable again."""

ALL_ERRORS = Rate(lambda counts: counts.errors + counts.shared, lambda counts: counts.requests, "failures")
"""Every failure, as a comparison needs that is to be fair to stable."""

SLOW = Rate(lambda counts: counts.slow, lambda counts: counts.timed, "latency")
"""Answers that take longer than stable's p95, as it was when the rollout began, plus the margin.

A canary of which more than one answer in twenty is slow has its own p95 beyond that. Where stable's clients wait as
long by now, all of the server is slow, and the canary is not to blame.
"""


class Part(NamedTuple):
    """How many went wrong of how many."""

    wrong: float
    of: float


@dataclass(frozen=True)
class RateGate:
    """Whether more of the canary's requests go wrong than may, and its clients meet more of that than stable's.

    Attributes
    ----------
    name
        ``errors`` or ``latency``.
    label
        What goes wrong, as text.
    limit, accept, required
        As in the policy.
    rate
        The rate that is held against the limit.
    compared
        The rate by which an A/B test compares the two versions.
    """

    name: str
    label: str
    limit: float
    accept: float
    required: bool
    rate: Rate
    compared: Rate

    @staticmethod
    def of_errors(bounds: Bounds) -> "RateGate":
        """Return the gate of errors with a policy's bounds."""
        return RateGate("errors", "errors", bounds.limit, bounds.accept, bounds.required, OWN_ERRORS, ALL_ERRORS)

    @staticmethod
    def of_latency(bounds: Bounds) -> "RateGate":
        """Return the gate of latency with a policy's bounds."""
        return RateGate("latency", "slow answers", bounds.limit, bounds.accept, bounds.required, SLOW, SLOW)

    def log_e_harm(self, evidence: Evidence) -> float:
        """Bet against "the canary's rate is at most the limit, or its clients fare no worse than stable's".

        The lesser of the two scores, since either excuse is enough; without any request to stable the second cannot be
        examined, and is no excuse.
        """
        absolute = float(above(*_part(self.rate, evidence.canary), self.limit))
        return min(absolute, _worse(self.rate, evidence)) if self.rate.of(evidence.stable) else absolute

    def log_e_fine(self, evidence: Evidence) -> float:
        """Bet against "the canary's rate is at least what is accepted, and larger than stable's by the margin".

        The margin is what lies between limit and accepted rate: a stable version that is faulty itself does not keep a
        canary from replacing it. The mean of two e-values is an e-value. Of each client only a limited part counts,
        lest one that asks a lot speaks for all.
        """
        stable, canary = _part(self.rate, evidence.stable.alone), _part(self.rate, evidence.canary.alone)
        if look := _look(self.rate, evidence):
            stable = Part(stable.wrong + look.times * look.stable.wrong, stable.of + look.times * look.stable.of)
            canary = Part(canary.wrong + look.times * look.canary.wrong, canary.of + look.times * look.canary.of)
        absolute = float(below(*canary, self.accept))
        relative = float(between(*canary, *stable, self.limit - self.accept))
        return float(np.logaddexp(absolute, relative) - np.log(2))

    def log_e_worse(self, evidence: Evidence) -> float:
        """Bet against "it makes no difference, or a good one, to be the canary's": by requests alone, or by clients."""
        return _worse(self.compared, evidence)

    def log_e_better(self, evidence: Evidence) -> float:
        """Bet against "it makes no difference, or a bad one, to be the canary's", likewise."""
        stable, canary = _part(self.compared, evidence.stable.alone), _part(self.compared, evidence.canary.alone)
        alone = float(between(*canary, *stable, 0.0))
        return either(alone, client_looks.ahead(_look(self.compared, evidence)))

    def find_missing(self, evidence: Evidence) -> str:
        """Return nothing: every request tells."""
        return ""

    def observed(self, evidence: Evidence) -> str:
        """Return what was observed, as text."""
        stable, canary = _part(self.rate, evidence.stable), _part(self.rate, evidence.canary)
        words = f"{self.label}: canary {canary.wrong} of {canary.of}, stable {stable.wrong} of {stable.of}"
        if (look := _look(self.rate, evidence)) and look.canary.clients:
            words += f" ({look.canary.clients} clients, {look.stable.clients} of stable's)"
        if self.compared is ALL_ERRORS and evidence.canary.shared:
            words += f"; {evidence.canary.shared} more that stable failed too"
        return words

    def count(self, evidence: Evidence) -> float:
        """Return how many observations there are of the canary."""
        return self.rate.of(evidence.canary)


def _part(rate: Rate, counts: Counts) -> Part:
    return Part(rate.wrong(counts), rate.of(counts))


def _look(rate: Rate, evidence: Evidence) -> Look | None:
    return evidence.looks.get(rate.look)


def _worse(rate: Rate, evidence: Evidence) -> float:
    alone = float(between(*_part(rate, evidence.stable.alone), *_part(rate, evidence.canary.alone), 0.0))
    return either(alone, client_looks.behind(_look(rate, evidence)))
