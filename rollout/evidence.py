"""What is known about two versions that share traffic: counts, and nothing else.

Counts are enough for every gate (rollout/gates), add up over windows and replicas, and are small enough to be kept
with each verdict, so that it can be computed again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One version's counts.

    Attributes
    ----------
    requests, errors
        Requests, and those of them that failed by the server's fault: a 5xx, or a full queue.
    timed, slow
        Answered requests whose latency is known, and those that took longer than stable's p95 and the policy's margin.
    labelled, right
        Answers whose true label has come, and those of them that were right.
    """

    requests: int = 0
    errors: int = 0
    timed: int = 0
    slow: int = 0
    labelled: int = 0
    right: int = 0

    def __post_init__(self) -> None:
        for part, whole in (("errors", "requests"), ("slow", "timed"), ("right", "labelled")):
            if not 0 <= getattr(self, part) <= getattr(self, whole):
                raise ValueError(
                    f"expected 0 <= {part} <= {whole}, got {getattr(self, part)} of {getattr(self, whole)}"
                )

    def __add__(self, other: Arm) -> Arm:
        return Arm(**{name: count + getattr(other, name) for name, count in asdict(self).items()})


@dataclass(frozen=True)
class Pairs:
    """Labelled requests that both versions answered (shadow traffic).

    Attributes
    ----------
    worse, same, better
        Canary wrong where stable was right; both right or both wrong; canary right where stable was wrong.
    """

    worse: int = 0
    same: int = 0
    better: int = 0

    def __post_init__(self) -> None:
        if min(self.worse, self.same, self.better) < 0:
            raise ValueError(f"expected counts of at least 0, got {self}")

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(self.worse + other.worse, self.same + other.same, self.better + other.better)


@dataclass(frozen=True)
class Evidence:
    """Everything a verdict is based on.

    Attributes
    ----------
    stable, canary, pairs
        Counts.
    shared_s
        For how long both have had traffic, by the requests' own times: from the canary's first to stable's last.
    """

    stable: Arm = field(default_factory=Arm)
    canary: Arm = field(default_factory=Arm)
    pairs: Pairs = field(default_factory=Pairs)
    shared_s: float = 0.0

    def __add__(self, other: Evidence) -> Evidence:
        shared_s = max(self.shared_s, other.shared_s)
        return Evidence(self.stable + other.stable, self.canary + other.canary, self.pairs + other.pairs, shared_s)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Evidence:
        """Return the evidence that `to_dict` gave."""
        arms = Arm(**values["stable"]), Arm(**values["canary"])
        return Evidence(*arms, Pairs(**values["pairs"]), values["shared_s"])
