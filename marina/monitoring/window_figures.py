"""How far a stretch of traffic is from the reference: what reports show, per quantity, of the answers, as a whole."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from marina.monitoring.effects import (
    discoveries,
    expected_stability,
    kolmogorov_samples,
    kolmogorov_tail,
    population_stability,
)
from marina.monitoring.streams import Requests, Watchlist, share_of_zeros

FALSE_DISCOVERIES = 0.05


@dataclass(frozen=True)
class Figures:
    """One quantity, or the labels, held against the reference.

    Attributes
    ----------
    name
        Of the quantity.
    rows
        How many numbers came.
    distance, p
        Of the Kolmogorov-Smirnov test. Clients that repeat themselves count as one.
    stability, chance
        The population stability index, and what it is expected to be without drift.
    missing, missing_before
        Shares of missing numbers, now and in the reference.
    moved
        Whether p is among the discoveries of Benjamini & Hochberg, over all that was tested.
    """

    name: str
    rows: int
    distance: float
    p: float
    stability: float
    chance: float
    missing: float = 0.0
    missing_before: float = 0.0
    moved: bool = False

    @property
    def effect(self) -> float:
        """The index beyond chance."""
        return max(0.0, self.stability - self.chance)


@dataclass(frozen=True)
class WindowFigures:
    """A stretch of traffic held against the reference.

    Attributes
    ----------
    rows
        How many answers it has.
    grouping
        How many rows of the same client a row is among.
    quantities
        Of the summary.
    labels, confidence
        Of the answers; None where there are none, or the reference has none.
    sure, sure_before
        Mean confidence, now and in the reference; NaN where there is none.
    zeros, zeros_before
        Shares of zeros.
    alike
        The share of the most frequent answer.
    unlike
        The share of requests that are less like the reference than 95 % of its own rows.
    """

    rows: int
    grouping: float
    quantities: tuple[Figures, ...]
    labels: Figures | None
    confidence: Figures | None
    sure: float = math.nan
    sure_before: float = math.nan
    zeros: float = math.nan
    zeros_before: float = math.nan
    alike: float = math.nan
    unlike: float = math.nan

    @property
    def data_effect(self) -> float | None:
        """The largest effect of a quantity; None where nothing was summarised."""
        return max((one.effect for one in self.quantities), default=None) if self.rows else None

    @property
    def prediction_effect(self) -> float | None:
        """The larger effect of labels and confidence; None where there are none."""
        return max((one.effect for one in (self.labels, self.confidence) if one is not None), default=None)

    @property
    def estimated_harm(self) -> str:
        """What the model itself lets expect, where no label says so."""
        lost = 100 * (self.sure_before - self.sure)
        if not math.isfinite(lost):
            return "not known: no labels, and no confidence"
        change = "lower" if lost >= 0 else "higher"
        return f"estimated, without labels: mean confidence {abs(lost):.1f} points {change} than in the reference"


def figures_of(watchlist: Watchlist, requests: Requests) -> WindowFigures:
    """Hold requests against the reference."""
    reference, grouping = watchlist.reference, requests.grouping
    sure = requests.confidence[np.isfinite(requests.confidence)]
    tested = []
    if requests.summary and len(requests):
        for name, bins in watchlist.bins.items():
            before, values = reference.summary[name], requests.summary[name]
            there = values[np.isfinite(values)]
            distance, p = _test(before, there, grouping)
            missing, missing_before = 1 - len(there) / len(values), float(np.mean(~np.isfinite(before)))
            counts = bins.count(there)
            index, chance = _stability(bins.counts, counts, grouping)
            tested.append(Figures(name, len(there), distance, p, index, chance, missing, missing_before))
    labels = _labels(watchlist, requests)
    confidence = None
    if reference.confidence is not None and len(reference.confidence) and len(sure):
        distance, p = _test(reference.confidence, sure, grouping)
        edges = np.quantile(reference.confidence, np.arange(1, 10) / 10)
        both = [np.bincount(np.searchsorted(edges, side), minlength=10) for side in (reference.confidence, sure)]
        confidence = Figures("confidence", len(sure), distance, p, *_stability(both[0], both[1], grouping))
    every = [*tested, *(one for one in (labels, confidence) if one is not None)]
    marked = [_mark(one, hit) for one, hit in zip(every, discoveries([one.p for one in every]), strict=True)]
    by_name = {one.name: one for one in marked}
    answers = Counter(label for label in requests.labels if label is not None)
    zeros = share_of_zeros(requests.summary) if requests.summary else np.empty(0)
    odd = watchlist.rarity.p_values(requests.summary) if requests.summary and watchlist.rarity else np.empty(0)
    return WindowFigures(
        rows=len(requests),
        grouping=grouping,
        quantities=tuple(by_name[one.name] for one in tested),
        labels=by_name.get("labels") if labels else None,
        confidence=by_name.get("confidence") if confidence else None,
        sure=float(sure.mean()) if len(sure) else math.nan,
        sure_before=float(reference.confidence.mean()) if confidence and reference.confidence is not None else math.nan,
        zeros=float(zeros.mean()) if len(zeros) else math.nan,
        zeros_before=next((stream.share for stream in watchlist.streams if stream.kind == "zeros"), math.nan),
        alike=max(answers.values()) / answers.total() if answers else math.nan,
        unlike=float((odd <= 0.05).mean()) if len(odd) else math.nan,
    )


def _test(before: object, values: object, grouping: float) -> tuple[float, float]:
    """Return distance and p-value, as if a client's rows were one."""
    one, other = np.asarray(before, np.float64), np.asarray(values, np.float64)
    distance, _ = kolmogorov_samples(one, other)
    n, m = np.isfinite(one).sum(), np.isfinite(other).sum() / grouping
    if not n or not m:
        return distance, 1.0
    root = math.sqrt(n * m / (n + m))
    return distance, float(kolmogorov_tail((root + 0.12 + 0.11 / root) * distance))


def _stability(before: object, counts: object, grouping: float) -> tuple[float, float]:
    one, other = np.asarray(before), np.asarray(counts)
    if not one.sum() or not other.sum():
        return 0.0, 0.0
    return float(population_stability(one, other)), float(expected_stability(one, other, grouping))


def _labels(watchlist: Watchlist, requests: Requests) -> Figures | None:
    """Hold the labels against the reference: the test is Pearson's chi-squared, by Wilson & Hilferty (1931)."""
    before = watchlist.reference.label_counts
    answers = Counter(label for label in requests.labels if label is not None)
    if not before or not answers:
        return None
    one = np.array([*before.values(), 0], np.float64)
    other = np.array([*(answers[label] for label in before), 0], np.float64)
    other[-1] = answers.total() - other.sum()
    used = (one + other) > 0
    index, chance = _stability(one[used], other[used], requests.grouping)
    distance = float(np.abs(one / one.sum() - other / other.sum()).sum() / 2)
    freedom = int(used.sum()) - 1
    both = one[used] + other[used]
    expected = both * other.sum() / both.sum()
    squares = float(((other[used] - expected) ** 2 / expected).sum() * both.sum() / one.sum()) / requests.grouping
    p = 1.0 if freedom < 1 else _chi_squared_tail(squares, freedom)
    return Figures("labels", answers.total(), distance, p, index, chance)


def _chi_squared_tail(squares: float, freedom: int) -> float:
    spread = 2 / (9 * freedom)
    z = ((squares / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return math.erfc(z / math.sqrt(2)) / 2


def _mark(one: Figures, moved: bool) -> Figures:
    return Figures(**{**one.__dict__, "moved": moved})
