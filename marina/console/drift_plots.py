"""What a model is asked and answers now, beside the reference of its training: a plot by feature."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from marina.console.plots import bars
from marina.monitoring import observations
from marina.monitoring.live_versions import Live, LiveVersions
from marina.monitoring.streams import Requests
from marina.settings import Settings

ANSWERS = 1_000
MOST_FEATURES, MOST_LABELS = 12, 20


@dataclass(frozen=True)
class Plot:
    """One quantity: its name, how far it moved (total variation, from 0 to 1), its plot."""

    name: str
    moved: float
    svg: str


class DriftPlots:
    """Reads references once per version, and draws the newest answers beside them."""

    def __init__(self, settings: Settings) -> None:
        self._versions = LiveVersions(settings)
        self._lock = threading.Lock()

    def live(self, connection: sa.Connection, model: str, now: float) -> Live | None:
        """Return the version of a model that has traffic, the one declared last; None where none can be read."""
        with self._lock:  # LiveVersions keeps what it read
            return next(iter(self._versions.find(connection, now, model)), None)

    def draw(
        self, connection: sa.Connection, model: str, now: float, legend: tuple[str, str]
    ) -> tuple[list[Plot], int]:
        """Return the plots of a model's live version, what moved most first, and of how many answers they are."""
        one = self.live(connection, model, now)
        if one is None:
            return [], 0
        reference = one.version.watchlist.reference
        names = tuple(reference.summary)
        answers = observations.latest(connection, model, one.version.version, names, ANSWERS)
        if not len(answers):
            return [], 0
        plots = [*_labels(one, answers, legend), *_features(one, answers, legend)]
        return sorted(plots, key=lambda plot: -plot.moved)[: MOST_FEATURES + 1], len(answers)


def _labels(one: Live, answers: Requests, legend: tuple[str, str]) -> Sequence[Plot]:
    before = one.version.watchlist.reference.label_counts
    if not before:
        return ()
    now = Counter(label for label in answers.labels if label is not None)
    often = sorted(before, key=lambda label: -before[label] - now[label])[:MOST_LABELS]
    counts = np.array([before.get(name, 0) for name in often], float), np.array([now[name] for name in often], float)
    return (_plot("label", often, counts[0], counts[1], legend),)


def _features(one: Live, answers: Requests, legend: tuple[str, str]) -> Sequence[Plot]:
    found = []
    for name, bins in one.version.watchlist.bins.items():
        if name in answers.summary:
            names = [bins.name(place) for place in range(len(bins.counts))]
            counted = bins.count(answers.summary[name]).astype(float)
            found.append(_plot(name, names, bins.counts.astype(float), counted, legend))
    return found


def _plot(name: str, names: Sequence[str], before: "np.ndarray", now: "np.ndarray", legend: tuple[str, str]) -> Plot:
    shares = before / max(before.sum(), 1), now / max(now.sum(), 1)
    moved = float(np.abs(shares[0] - shares[1]).sum() / 2)
    return Plot(name, moved, bars(name, names, list(zip(*(side.tolist() for side in shares), strict=True)), legend))
