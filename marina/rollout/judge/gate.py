"""What a gate is: it weighs the evidence for and against one kind of harm."""

from typing import Protocol

from marina.rollout.judge.evidence import Evidence

TEST = "test"
"""The name of the metric of an A/B test beside the gates' own names."""


class Gate(Protocol):
    """What the judge needs of a gate. Scores are log e-values (`marina.rollout.judge.e_values`)."""

    @property
    def name(self) -> str:
        """Its name, as findings and the policy have it."""

    @property
    def required(self) -> bool:
        """Whether a canary is promoted only once this gate has cleared it."""

    def log_e_harm(self, evidence: Evidence) -> float:
        """Bet against "the canary is no worse than the limit allows"."""

    def log_e_fine(self, evidence: Evidence) -> float:
        """Bet against "the canary is worse than what is accepted"."""

    def find_missing(self, evidence: Evidence) -> str:
        """Return what is missing before it can find no harm, as text after "needs"; empty when nothing is."""

    def observed(self, evidence: Evidence) -> str:
        """Return what was observed, as text."""

    def count(self, evidence: Evidence) -> float:
        """Return how many observations there are of the canary."""


class Metric(Protocol):
    """What an A/B test needs of the gate by whose metric it is decided."""

    def log_e_worse(self, evidence: Evidence) -> float:
        """Bet against "the canary is no worse than stable"."""

    def log_e_better(self, evidence: Evidence) -> float:
        """Bet against "the canary is no better than stable"."""

    def observed(self, evidence: Evidence) -> str:
        """Return what was observed, as text."""

    def count(self, evidence: Evidence) -> float:
        """Return how many observations there are of the canary."""
