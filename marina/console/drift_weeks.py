"""What a model was asked week by week, beside the reference of the version that is live: a plot by feature."""

import datetime
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from markupsafe import Markup
from numpy.typing import NDArray

from marina.console.drift_plots import DriftPlots
from marina.console.plots import Week, weekly
from marina.database.tables import DECLARATIONS, ROLLOUTS
from marina.monitoring import observations
from marina.monitoring.live_versions import Live

WEEK_S = 7 * 86_400.0
WEEKS = 8
STRETCHES, EACH = 21, 20
"""Of every eight hours so many answers are read."""

LEAST = 20
"""A week with fewer answers is not shown."""

QUANTILES = (0.1, 0.5, 0.9)
MOST_FEATURES, MOST_VERSIONS, MOST_KEPT = 9, 8, 512

Quantities = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class WeeklyPlot:
    """One quantity: its name, how far its last week lies from the reference, and its plot.

    Attributes
    ----------
    moved
        By how much the quantiles differ on average, in widths of the reference's band.
    """

    name: str
    moved: float
    svg: Markup


class DriftWeeks:
    """Reads each week that is over once, and draws the last ones."""

    def __init__(self, plots: DriftPlots) -> None:
        self._plots = plots
        self._lock = threading.Lock()
        self._over: OrderedDict[tuple[str, str, str], Quantities] = OrderedDict()

    def draw(
        self, connection: sa.Connection, model: str, now: float, legend: tuple[str, str], most: int = MOST_FEATURES
    ) -> list[WeeklyPlot]:
        """Return the plots of what a model was asked in the last weeks, what moved most first."""
        one = self._plots.live(connection, model, now)
        if one is None:
            return []
        reference = _reference(one)
        weeks = [(start, self._week(connection, one, start, now)) for start in starts(now)]
        found = []
        for name, before in reference.items():
            band = _quantiles(before)
            shown = [
                Week(_name(start), int(np.isfinite(seen[name]).sum()), quantiles)
                for start, seen in weeks
                if name in seen and (quantiles := _quantiles(seen[name])) is not None
            ]
            if band is not None and shown:
                wide = max(band[2] - band[0], 1e-9)
                moved = float(np.mean(np.abs(np.subtract(shown[-1].quantiles, band)))) / wide
                found.append(WeeklyPlot(name, moved, weekly(name, shown, band, legend)))
        return sorted(found, key=lambda plot: -plot.moved)[:most]

    def _week(self, connection: sa.Connection, one: Live, start: float, now: float) -> Quantities:
        version = one.version
        key = (version.model, version.sha256, _name(start))
        with self._lock:
            if key in self._over:
                return self._over[key]
        names = tuple(version.watchlist.reference.summary)
        found = observations.sample(
            connection, version.model, versions_of(connection, version.model, start, start + WEEK_S), names, start,
            start + WEEK_S, STRETCHES, EACH,
        )  # fmt: skip
        seen = {**found.summary, "confidence": found.confidence.astype(np.float32)} if len(found) else {}
        if start + WEEK_S < now:
            with self._lock:
                self._over[key] = seen
                while len(self._over) > MOST_KEPT:
                    self._over.popitem(last=False)
        return seen


def starts(now: float) -> list[float]:
    """Return when the last weeks began, Mondays at midnight in UTC, the one that runs last."""
    day = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = day - datetime.timedelta(days=day.weekday())
    return [(monday - datetime.timedelta(weeks=back)).timestamp() for back in reversed(range(WEEKS))]


def versions_of(connection: sa.Connection, model: str, since: float, until: float) -> Sequence[str]:
    """Return versions of a model that may have answered from a time to another, the newest rollouts' first."""
    one = ROLLOUTS.c
    then = (one.started_at < until, sa.func.coalesce(one.ended_at, since) >= since)
    rolled = sa.select(one.stable, one.canary).where(one.model == model, *then)
    declared = sa.select(DECLARATIONS.c.version).where(DECLARATIONS.c.model == model)
    names = [name for row in connection.execute(rolled.order_by(one.id.desc()).limit(MOST_VERSIONS)) for name in row]
    return list(dict.fromkeys([*names, *connection.execute(declared).scalars()]))[:MOST_VERSIONS]


def _reference(one: Live) -> Quantities:
    reference = one.version.watchlist.reference
    sure = {} if reference.confidence is None else {"confidence": reference.confidence}
    return {**reference.summary, **sure}


def _quantiles(values: NDArray[np.float32]) -> tuple[float, float, float] | None:
    there = values[np.isfinite(values)]
    if len(there) < LEAST:
        return None
    low, middle, high = np.quantile(there.astype(np.float64), QUANTILES).tolist()
    return low, middle, high


def _name(start: float) -> str:
    year, week, _ = datetime.datetime.fromtimestamp(start, datetime.UTC).date().isocalendar()
    return f"{year}-W{week:02d}"
