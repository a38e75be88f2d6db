"""F1, as the metric of an A/B test: by which version what is reported and what is true are the same more often.

F1 is a ratio of sums, and no mean of what single answers are worth. But where all that was neither reported nor true is
left out, the share of the rest that was both, J, is a mean, and F1 is 2 J / (1 + J), which grows with it. So which of
two versions has the higher F1 is which has the higher J, and the bets on shares of right answers
(`marina.rollout.judge.e_values.between`) are bets on F1, exact and at any time if answers are independent and J does
not change. Answers about hours that overlap share one truth, and are not: docs/JUDGE.md says what to do then.

Of an answer of several parts, which are not independent, the share of them counts: of a bet that is at most what a bet
on the whole answer would be (Hoeffding's convexity, as in `marina.rollout.judge.accuracy_gate`). Each answer counts
alike, so what is compared is the F1 of all parts together where every answer has equally many, as questions do; rows
need not. Clients are compared by rank, by how much of the same went wrong.
"""

from dataclasses import dataclass

from marina.rollout.judge import client_looks
from marina.rollout.judge.e_values import between
from marina.rollout.judge.either import either
from marina.rollout.judge.evidence import Arm, Counts, Evidence
from marina.rollout.judge.intervals import interval
from models.quality.measures import f1_of_overlap

LOOK = "f1"

LEAST = 1.0
"""Reports and truths of either version, as answers; fewer say nothing."""


@dataclass(frozen=True)
class F1Metric:
    """Which of two versions has the higher F1, of yes and no."""

    def log_e_worse(self, evidence: Evidence) -> float:
        """Bet against "the canary's F1 is at least stable's"."""
        clients = client_looks.behind(evidence.looks.get(LOOK))
        return either(_higher(evidence.stable.alone, evidence.canary.alone), clients)

    def log_e_better(self, evidence: Evidence) -> float:
        """Bet against "the canary's F1 is at most stable's"."""
        clients = client_looks.ahead(evidence.looks.get(LOOK))
        return either(_higher(evidence.canary.alone, evidence.stable.alone), clients)

    def observed(self, evidence: Evidence) -> str:
        """Return what was observed, as text."""
        if not evidence.canary.alarms and not evidence.stable.alarms:
            return "F1: nothing was reported or true so far, of answers of yes and no"
        shown = (f"{name} {_show(arm)}" for name, arm in (("canary", evidence.canary), ("stable", evidence.stable)))
        return f"F1: {', '.join(shown)}"

    def count(self, evidence: Evidence) -> float:
        """Return how many labelled answers there are of the canary."""
        return evidence.canary.labelled


def f1_of(counts: Counts) -> float | None:
    """Return a version's F1, each answer counting alike; None where nothing was reported or true."""
    return float(f1_of_overlap(counts.hits / counts.alarms)) if counts.alarms else None


def f1_interval(counts: Counts, alpha: float = 0.05) -> tuple[float, float]:
    """Return an interval of a version's F1 that holds at all looks together, if its answers are independent."""
    low, high = interval(counts.hits, counts.alarms, alpha) if counts.alarms else (0.0, 1.0)
    return float(f1_of_overlap(low)), float(f1_of_overlap(high))


def _higher(one: Counts, other: Counts) -> float:
    """Bet against "the one's F1 is at most the other's"."""
    if min(one.alarms, other.alarms) < LEAST:
        return 0.0
    return float(between(other.hits, other.alarms, one.hits, one.alarms, 0.0))


def _show(arm: Arm) -> str:
    value = f1_of(arm)
    return f"{'none' if value is None else format(value, '.3f')} of {arm.labelled:,.0f} labelled"
