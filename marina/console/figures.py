"""How versions do now, counted in the background, so that no page waits for it: latency, errors, quality."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from marina.database.connection import Database
from marina.events import latency_histogram
from marina.events.quality import Quality, QualityWindow
from marina.events.version_counts import Version, count_windows
from models.quality.intervals import upper_bound

HOUR_S = 3600.0
EVERY_S, QUALITY_EVERY_S = 15.0, 60.0
Z = 1.96


@dataclass(frozen=True)
class Traffic:
    """A version's last hour at the gateway."""

    requests: int
    errors: int
    p95_ms: float | None

    @property
    def error_rate(self) -> float:
        """Share of the requests that failed."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class Score:
    """How good answers are by the labels of the last 7 days: 1 - the mean loss (of labels: accuracy), 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    labels: int


@dataclass
class Figures:
    """The newest figures of every version.

    Attributes
    ----------
    counted_at
        When they were counted, in seconds since 1970; 0 before the first time.
    """

    database: Database
    traffic: Mapping[Version, Traffic] = field(default_factory=dict)
    scores: Mapping[Version, Score] = field(default_factory=dict)
    counted_at: float = 0.0

    def __post_init__(self) -> None:
        self._window = QualityWindow()
        self._scored_at = 0.0

    def refresh(self, now: float) -> None:
        """Count again what has changed."""
        with self.database.reading() as connection:
            self.traffic = count_traffic(connection, now - HOUR_S)
            if abs(now - self._scored_at) >= QUALITY_EVERY_S:
                found = self._window.read(connection, now)
                self.scores = {version: one for version, quality in found.items() if (one := score(quality))}
                self._scored_at = now
        self.counted_at = now

    def keep(self, report: Callable[[str], None]) -> None:
        """Count again and again, in a thread of its own."""

        def run() -> None:
            fault = ""
            while True:
                try:
                    self.refresh(time.time())
                    fault = ""
                except (sa.exc.SQLAlchemyError, ValueError, LookupError, TypeError, ArithmeticError) as error:
                    if str(error) != fault:
                        report(f"figures are not counted: {error}")
                    fault = str(error)
                time.sleep(EVERY_S)

        threading.Thread(target=run, name="figures", daemon=True).start()


def count_traffic(connection: sa.Connection, since: float) -> dict[Version, Traffic]:
    """Count what the gateway saw of each version since a time."""
    return {
        version: Traffic(
            seen.requests,
            seen.errors,
            latency_histogram.quantile(seen.latencies, 0.95) if any(seen.latencies.values()) else None,
        )
        for version, seen in count_windows(connection, since, None).items()
    }


def score(quality: Quality) -> Score | None:
    """Return how good answers are, of the kind of truth of which most is known; None without labels."""
    if not quality.sums:
        return None
    kind = max(quality.sums, key=lambda one: quality.sums[one]["answers", ""])
    count = quality.sums[kind]["answers", ""]
    if not count:
        return None
    value = min(1.0, max(0.0, 1 - quality.sums[kind]["loss", ""] / count))
    high, low = float(upper_bound(value, count, Z)), 1 - float(upper_bound(1 - value, count, Z))
    return Score("accuracy" if kind == "label" else "1 - loss", value, low, high, int(count))
