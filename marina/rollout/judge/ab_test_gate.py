"""An A/B test: whether the canary is worse or better than stable by one metric, by however little."""

from dataclasses import dataclass

from marina.rollout.judge.evidence import Evidence
from marina.rollout.judge.gate import TEST, Metric


@dataclass(frozen=True)
class ABTestGate:
    """The test beside the gates: harm is a canary that is worse, and fine one that is better.

    Attributes
    ----------
    metric
        By which the two are compared.
    """

    metric: Metric
    name: str = TEST
    required: bool = True

    def log_e_harm(self, evidence: Evidence) -> float:
        """Bet against "the canary is no worse than stable"."""
        return self.metric.log_e_worse(evidence)

    def log_e_fine(self, evidence: Evidence) -> float:
        """Bet against "the canary is no better than stable"."""
        return self.metric.log_e_better(evidence)

    def find_missing(self, evidence: Evidence) -> str:
        """Return nothing: that one is better is shown by what there is, or not."""
        return ""

    def observed(self, evidence: Evidence) -> str:
        """Return what was observed, as text."""
        return self.metric.observed(evidence)

    def count(self, evidence: Evidence) -> float:
        """Return how many observations there are of the canary."""
        return self.metric.count(evidence)
