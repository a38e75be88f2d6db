"""What versions were asked and answered, counted from the gateway's windows and from labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from marina.database.tables import EVIDENCE, LABELS, PREDICTIONS
from marina.events import latency_histogram
from marina.events.exposition import Row, write_family
from marina.events.labelled_predictions import IS_RIGHT, select_labelled

BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Of the latency histogram; an answer that took up to 2 % longer than a bound may be counted as within it."""

SLO = 0.999
"""Share of the requests that are to succeed; deploy/prometheus/rules/objectives.yml alerts on it."""

_NUMBERS = ("requests", "errors", "labels", "right")

Version = tuple[str, str]


@dataclass
class Counts:
    """Of one version."""

    requests: int = 0
    errors: int = 0
    labels: int = 0
    right: int = 0
    latencies: Counter[int] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Add those of another time."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latencies.update(other.latencies)

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON values."""
        return {name: getattr(self, name) for name in _NUMBERS} | {"latencies": dict(self.latencies)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Counts:
        """Return what `to_json` gave, read from text."""
        latencies = Counter({int(bucket): int(count) for bucket, count in values["latencies"].items()})
        return cls(**{name: int(values[name]) for name in _NUMBERS}, latencies=latencies)


def merge(into: dict[Version, Counts], more: Mapping[Version, Counts]) -> None:
    """Add counts, version by version."""
    for version, counts in more.items():
        into.setdefault(version, Counts()).add(counts)


def count(connection: sa.Connection, low: float, high: float | None) -> dict[Version, Counts]:
    """Count the windows that begin, and the labels that came, from `low` up to `high`."""
    counts = count_windows(connection, low, high)
    given, known = PREDICTIONS.c, LABELS.c
    right = sa.func.sum(sa.case((IS_RIGHT, 1), else_=0))
    labels = (
        select_labelled(given.model, given.version, sa.func.count(given.label).label("labels"), right.label("right"))
        .where(*within(known.time, low, high))
        .group_by(given.model, given.version)
    )
    for row in connection.execute(labels):
        merge(counts, {(row.model, row.version): Counts(labels=row.labels, right=row.right)})
    return counts


def count_windows(connection: sa.Connection, low: float, high: float | None) -> dict[Version, Counts]:
    """Count the windows that begin from `low` up to `high`, and no labels."""
    counts: dict[Version, Counts] = {}
    windows = sa.select(EVIDENCE).where(*within(EVIDENCE.c.start, int(low), high and int(high)))
    for row in connection.execute(windows):
        seen = Counter(latency_histogram.from_json(row.latencies))
        merge(counts, {(row.model, row.version): Counts(row.requests, row.errors, latencies=seen)})
    return counts


def within(time: sa.Column[Any], low: float, high: float | None) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that a time is from `low` up to `high`, or to now."""
    return [time >= low] if high is None else [time >= low, time < high]


def write_latencies(name: str, about: str, counts: Mapping[Version | None, Counter[int]]) -> list[str]:
    """Write a histogram of seconds from latencies in buckets, one per version; of no version (None) without labels."""
    rows: list[Row] = []
    suffixes = []
    for version, latencies in counts.items():
        labels = {} if version is None else {"model": version[0], "version": version[1]}
        total = latencies.total()
        for bound in BOUNDS_S:
            suffixes.append("_bucket")
            rows.append((labels | {"le": str(bound)}, total - latency_histogram.slower(latencies, 1000 * bound)))
        seconds = sum(count * latency_histogram.GROWTH**bucket for bucket, count in latencies.items()) / 1000
        suffixes += ["_bucket", "_sum", "_count"]
        rows += [(labels | {"le": "+Inf"}, total), (labels, seconds), (labels, total)]
    return write_family(name, "histogram", about, rows, suffixes)
