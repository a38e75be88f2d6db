"""What is known about two versions that share traffic: counts, and nothing else.

Requests are counted one by one, and clients by how they fared; what a client is, docs/JUDGE.md says. Counts are enough
for every gate (marina/rollout/judge), and small enough to be kept with each verdict, so that it can be computed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

NEARLY = 0.01
"""Counts that were multiplied (`scaled`) may miss their whole by a rounding error."""


@dataclass(frozen=True)
class Counts:
    """Requests and answers of one version, one by one.

    Attributes
    ----------
    requests, errors
        Requests, and those of them that failed by the version's own fault: a 5xx, or a full queue.
    timed, slow
        Requests of which it is known whether they were slow, and those that took longer than stable's p95 and the
        policy's margin.
    labelled, right
        Answers of which it has come to be known what was true, and those of them that were right; of an answer with a
        loss between 0 and 1, what that leaves of 1.
    shared
        Requests that failed, and failed again when they were asked of stable: no one's harm.
    alarms, hits
        In a test by F1, of answers of yes and no: those where the answer or the truth was yes, and where both were; of
        an answer of several parts, the share of them. Nothing else has them.
    """

    requests: float = 0
    errors: float = 0
    timed: float = 0
    slow: float = 0
    labelled: float = 0
    right: float = 0
    shared: float = 0
    alarms: float = 0
    hits: float = 0

    def __post_init__(self) -> None:
        for name, part, whole in (
            ("errors", self.errors + self.shared, self.requests),
            ("slow", self.slow, self.timed),
            ("right", self.right, self.labelled),
            ("alarms", self.alarms, self.labelled),
            ("hits", self.hits, self.alarms),
        ):
            if not -NEARLY <= part <= whole + NEARLY:
                raise ValueError(f"expected between 0 and all {whole} {name}, got {part}")

    def without(self, some: Counts) -> Counts:
        """Return these counts but for some of them."""
        return Counts(*(getattr(self, one.name) - getattr(some, one.name) for one in fields(Counts)))

    def scaled(self, factor: float) -> Counts:
        """Return the counts of that many times as much, all alike."""
        return Counts(*(factor * getattr(self, one.name) for one in fields(Counts)))


@dataclass(frozen=True)
class Arm(Counts):
    """One version's counts.

    Attributes
    ----------
    of_clients
        Those of requests that had a session. All others were drawn one by one.
    """

    of_clients: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.alone  # which cannot be if clients have more than there is

    @property
    def alone(self) -> Counts:
        """Counts of the requests that had no session."""
        return self.without(self.of_clients)

    def scaled(self, factor: float) -> Arm:
        """Return the counts of that many times as much, all alike."""
        return Arm(**asdict(super().scaled(factor)), of_clients=self.of_clients.scaled(factor))


@dataclass(frozen=True)
class Pairs:
    """Labelled requests that both versions answered (shadow traffic).

    Attributes
    ----------
    worse, same, better
        Canary wrong where stable was right; both right or both wrong; canary right where stable was wrong.
    wrong
        Those of `same` in which both were wrong; not counted by a judge before the second.
    """

    worse: int = 0
    same: int = 0
    better: int = 0
    wrong: int = 0

    def __post_init__(self) -> None:
        if min(self.worse, self.same, self.better, self.wrong) < 0 or self.wrong > self.same:
            raise ValueError(f"expected counts of at least 0, and no more wrong than the same, got {self}")

    @property
    def count(self) -> int:
        """How many there are."""
        return self.worse + self.same + self.better

    @property
    def stable_right(self) -> int:
        """In how many of them stable was right."""
        return self.worse + self.same - self.wrong

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(
            self.worse + other.worse, self.same + other.same, self.better + other.better, self.wrong + other.wrong
        )

    def without(self, some: Pairs) -> Pairs:
        """Return these pairs but for some of them."""
        return Pairs(self.worse - some.worse, self.same - some.same, self.better - some.better, self.wrong - some.wrong)

    def scaled(self, factor: float) -> Pairs:
        """Return that many times as many, rounded down."""
        return Pairs(*(int(factor * count) for count in (self.worse, self.same, self.better, self.wrong)))


@dataclass(frozen=True)
class Crowd:
    """How the clients of one version fared.

    Attributes
    ----------
    fared
        Classes, in order, and how many clients are in each; what a class is, `marina.rollout.interim_looks` says.
    wrong, of
        What went wrong of how much. No client counts for more than its first `marina.rollout.interim_looks.MOST`
        requests' worth.
    """

    fared: tuple[tuple[int, int], ...] = ()
    wrong: float = 0.0
    of: float = 0.0

    @property
    def clients(self) -> int:
        """How many there are."""
        return sum(count for _, count in self.fared)


@dataclass(frozen=True)
class Look:
    """A look at the clients of both versions, which are looked at more and more seldom.

    Attributes
    ----------
    number
        Which look it is, from 0.
    times
        What would be known if there were that many times as many clients, all alike, is asked by this.
    """

    number: int
    stable: Crowd = field(default_factory=Crowd)
    canary: Crowd = field(default_factory=Crowd)
    times: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {"number": self.number, "stable": asdict(self.stable), "canary": asdict(self.canary)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Look:
        """Return the look that `to_dict` gave."""
        return Look(values["number"], _crowd(values["stable"]), _crowd(values["canary"]))


@dataclass(frozen=True)
class Evidence:
    """Everything a verdict is based on.

    Attributes
    ----------
    stable, canary
        Counts since the step began; of labels, since the canary was let in.
    pairs
        All pairs with a label.
    shared_s
        For how long both have had traffic, by the requests' own times: from the canary's first to stable's last.
    step
        Index of the policy's step.
    pairs_of_clients
        Those of requests that had a session.
    looks
        The last look at the clients, by what was looked at: ``errors``, ``failures``, ``latency``, ``accuracy``,
        ``f1``, ``pairs``.
    """

    stable: Arm = field(default_factory=Arm)
    canary: Arm = field(default_factory=Arm)
    pairs: Pairs = field(default_factory=Pairs)
    shared_s: float = 0.0
    step: int = 0
    pairs_of_clients: Pairs = field(default_factory=Pairs)
    looks: Mapping[str, Look] = field(default_factory=dict)

    @property
    def pairs_alone(self) -> Pairs:
        """Pairs of requests that had no session."""
        return self.pairs.without(self.pairs_of_clients)

    def scaled(self, factor: float) -> Evidence:
        """Return what would be known if there were that many times as much, all alike, over the same time."""
        return Evidence(
            stable=self.stable.scaled(factor),
            canary=self.canary.scaled(factor),
            pairs=self.pairs.scaled(factor),
            shared_s=self.shared_s,
            step=self.step,
            pairs_of_clients=self.pairs_of_clients.scaled(factor),
            looks={name: replace(look, times=factor) for name, look in self.looks.items()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(replace(self, looks={})) | {"looks": {name: one.to_dict() for name, one in self.looks.items()}}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Evidence:
        """Return the evidence that `to_dict` gave; what is missing was not counted by the judge that wrote it."""
        return Evidence(
            _arm(values["stable"]),
            _arm(values["canary"]),
            Pairs(**values["pairs"]),
            values["shared_s"],
            values.get("step", 0),
            Pairs(**values.get("pairs_of_clients", {})),
            {name: Look.from_dict(one) for name, one in values.get("looks", {}).items()},
        )


def _arm(values: dict[str, Any]) -> Arm:
    return Arm(**{**values, "of_clients": Counts(**values.get("of_clients", {}))})


def _crowd(values: dict[str, Any]) -> Crowd:
    return Crowd(tuple((key, count) for key, count in values["fared"]), values["wrong"], values["of"])
