"""What is watched of a model: streams of numbers from 0 to 1, each with what its archive's reference says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archives.reference import Reference
from marina.monitoring.e_detector import Batch
from marina.monitoring.limits import limit
from marina.monitoring.rarity import Rarity

Floats = NDArray[np.float64]

Kind = Literal["feature", "missing", "label", "confidence", "zeros", "unlike", "errors"]

QUANTILES = np.arange(1, 10) / 10
OFTEN = 0.1
"""A value that so many reference rows have is a bin of its own."""

KNOWN = 10**12
"""Reference rows of what needs no reference: errors are held against the tolerance alone."""

AS_PREDICTIONS = ("label", "confidence")
"""Kinds that are drift of predictions; the others are drift of data, and errors."""


class Stream(NamedTuple):
    """One stream.

    Attributes
    ----------
    name
        Distinguishes it from the model's others.
    kind
        What it is made of.
    of
        The summary's name, or the label.
    about
        The same for people.
    share, rows
        The reference's mean, and of how many rows.
    """

    name: str
    kind: Kind
    of: str
    about: str
    share: float
    rows: int


@dataclass(frozen=True)
class Requests:
    """What is known of some answered requests, a row an instance.

    Attributes
    ----------
    summary
        By name, float32 (rows,); NaN for what is missing. Empty where nothing was summarised.
    labels
        The answers' labels; None where there is none.
    confidence : ndarray of float64, shape (rows,)
        NaN where an answer has none.
    groups : ndarray of int64, shape (rows,)
        Equal for rows of one client or one request.
    served, errors
        Requests at the gateway meanwhile, and how many of them failed.
    """

    summary: Mapping[str, NDArray[np.float32]]
    labels: Sequence[str | None]
    confidence: Floats
    groups: NDArray[np.int64]
    served: int = 0
    errors: int = 0

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.labels)

    @property
    def grouping(self) -> float:
        """Return the rows of the same client that a row is expected to be among: 1 where all are of different ones."""
        if not len(self.groups):
            return 1.0
        counts = np.unique(self.groups, return_counts=True)[1].astype(np.float64)
        return float((counts**2).sum() / counts.sum())


@dataclass(frozen=True)
class Bins:
    """Bins of one quantity: the reference's deciles, and values that many of its rows have.

    Attributes
    ----------
    edges : ndarray of float32
        Upper ends of all bins but the last.
    counts : ndarray of int64, shape (len(edges) + 1,)
        How many reference rows are in each.
    """

    edges: NDArray[np.float32]
    counts: NDArray[np.int64]

    @staticmethod
    def of(values: NDArray[np.float32]) -> "Bins":
        """Make the bins of reference numbers, without NaN."""
        cuts = np.quantile(values, QUANTILES, method="inverted_cdf") if len(values) else np.empty(0)
        found, often = np.unique(values, return_counts=True)
        alone = found[often >= max(1.0, OFTEN * len(values))] if len(values) else found
        below = np.nextafter(alone, np.float32(-np.inf), dtype=np.float32)
        edges = np.unique(np.concatenate([cuts.astype(np.float32), alone, below]))
        return Bins(edges, np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1))

    def count(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """Count numbers in each bin; NaN are left out."""
        there = values[np.isfinite(values)]
        return np.bincount(np.searchsorted(self.edges, there, side="left"), minlength=len(self.edges) + 1)

    def name(self, place: int) -> str:
        """Phrase a bin: `at most 3`, `3 to 7`, `exactly 7`, `more than 9`."""
        if not len(self.edges):
            return "any"
        if place == 0:
            return f"at most {self.edges[0]:.4g}"
        if place == len(self.edges):
            return f"more than {self.edges[-1]:.4g}"
        low, high = self.edges[place - 1], self.edges[place]
        if np.nextafter(low, np.float32(np.inf), dtype=np.float32) == high:
            return f"exactly {high:.4g}"
        return f"{low:.4g} to {high:.4g}"


@dataclass(frozen=True)
class Watchlist:
    """All streams of one version, in the order in which detectors have them."""

    reference: Reference
    streams: tuple[Stream, ...]
    bins: Mapping[str, Bins]
    rarity: Rarity = field(repr=False, compare=False)

    @staticmethod
    def of(reference: Reference) -> "Watchlist":
        """Say what is watched of a version with this reference."""
        rows = len(next(iter(reference.summary.values()), ()))
        bins = {name: Bins.of(values[np.isfinite(values)]) for name, values in reference.summary.items()}
        rarity = Rarity(reference.summary)
        streams: list[Stream] = []
        for name, one in bins.items():
            there = int(one.counts.sum())
            for place, count in enumerate(one.counts.tolist()):
                about = f"{name}: {one.name(place)}"
                streams.append(Stream(f"{name}[{place}]", "feature", name, about, count / max(there, 1), there))
            streams.append(
                Stream(f"{name}[missing]", "missing", name, f"{name}: missing", 1 - there / max(rows, 1), rows)
            )
        if bins:
            share = float(np.mean(share_of_zeros(reference.summary))) if rows else 0.0
            streams.append(Stream("zeros", "zeros", "", "quantities that are 0", share, rows))
        if rarity:
            streams.append(Stream("unlike", "unlike", "", "requests unlike the reference as a whole", 0.5, len(rarity)))
        if reference.predicted is not None and len(reference.predicted):
            counts = np.bincount(reference.predicted, minlength=len(reference.labels)).tolist()
            for label, count in zip(reference.labels, counts, strict=True):
                about = f"answers {label!r}"
                streams.append(Stream(f"label {label}", "label", label, about, count / sum(counts), sum(counts)))
        if reference.confidence is not None and len(reference.confidence):
            mean, known = float(np.mean(reference.confidence)), len(reference.confidence)
            streams.append(Stream("confidence", "confidence", "", "confidence, upwards", mean, known))
            streams.append(Stream("doubt", "confidence", "", "confidence, downwards", 1 - mean, known))
        streams.append(Stream("errors", "errors", "", "failed requests", 0.0, KNOWN))
        return Watchlist(reference, tuple(streams), bins, rarity)

    def limits(self, tolerance: float, baseline: Batch | None = None) -> Floats:
        """Return each stream's largest mean that is no drift, (K,).

        Parameters
        ----------
        tolerance
            Of a share, beside what the reference leaves open.
        baseline
            Traffic that a person accepted as the new reference, where one did.
        """
        share = np.array([one.share for one in self.streams])
        rows = np.array([one.rows for one in self.streams], np.float64)
        if baseline is not None:
            known = (baseline.count > 0) & (rows < KNOWN)
            share, rows = np.where(known, baseline.mean, share), np.where(known, baseline.count, rows)
        return limit(share, rows, tolerance)

    def observe(self, requests: Requests) -> Batch:
        """Return what some requests say of each stream."""
        count, total = np.zeros(len(self.streams)), np.zeros(len(self.streams))
        labels = [label for label in requests.labels if label is not None]
        sure = requests.confidence[np.isfinite(requests.confidence)]
        by_label = dict(zip(*_counted(labels), strict=True))
        summarised = bool(self.bins) and set(self.bins) <= set(requests.summary)
        binned = {name: one.count(requests.summary[name]) for name, one in self.bins.items()} if summarised else {}
        odd = 1 - self.rarity.p_values(requests.summary) if summarised and self.rarity and len(requests) else ()
        zeros = share_of_zeros(requests.summary) if summarised else ()
        place = 0
        for number, one in enumerate(self.streams):
            match one.kind:
                case "feature":
                    place = place + 1 if number and self.streams[number - 1].of == one.of else 0
                    if one.of in binned:
                        count[number], total[number] = binned[one.of].sum(), binned[one.of][place]
                case "missing" if one.of in binned:
                    count[number], total[number] = len(requests), len(requests) - binned[one.of].sum()
                case "zeros":
                    count[number], total[number] = len(zeros), np.sum(zeros)
                case "unlike":
                    count[number], total[number] = len(odd), np.sum(odd)
                case "label":
                    count[number], total[number] = len(labels), by_label.get(one.of, 0)
                case "confidence":
                    upwards = one.name == "confidence"
                    count[number], total[number] = len(sure), np.sum(sure if upwards else 1 - sure)
                case "errors":
                    count[number], total[number] = requests.served, requests.errors
        return Batch(count, np.clip(total / np.maximum(count, 1), 0.0, 1.0))


def share_of_zeros(summary: Mapping[str, NDArray[np.float32]]) -> Floats:
    """Return the share of each row's numbers that are 0."""
    return np.asarray(np.stack([values == 0 for values in summary.values()], axis=1).mean(axis=1))


def _counted(labels: Sequence[str]) -> tuple[list[str], list[int]]:
    found, counts = np.unique(np.array(labels, object), return_counts=True)
    return found.tolist(), counts.tolist()
