"""How good answers are by what is known to be true, over the last days: for /metrics, and for anyone who asks.

Labelled answers are a selection: who labels chooses what. So each figure comes with how many requests were labelled of
how many that were answered, and with how late labels come.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa

from marina.database.tables import EVIDENCE, LABEL_SETS, LABELS, PREDICTIONS, TRUTHS
from marina.events.exposition import Row, write_family
from marina.events.known_classes import Version
from marina.events.label_counts import MARKET
from marina.events.labelled_predictions import select_labelled
from marina.events.version_counts import within
from models.quality.answers import read_parts
from models.quality.kinds import KINDS, Kind
from models.quality.tallies import Tally, add_to, measures, tally, tally_label

WINDOW_S = 7 * 86_400.0
"""What figures are of: labels that came, and requests that were answered, since then."""

LATE_S = 300.0
"""Labels that are written later than this after they came are missed."""

STEP_S = 3600.0
"""What is counted once and kept; what is too old goes by as much at once."""


@dataclass
class Quality:
    """What is known of one version's answers.

    Attributes
    ----------
    sums
        What labelled answers add up to, by kind of truth.
    labelled, answered
        Requests with a label that came, of those for which the gateway chose the version; and all that it answered.
    labels, lag_s
        Labels that came, and the sum of the times from their answers to them.
    """

    sums: dict[Kind, Tally] = field(default_factory=dict)
    labelled: int = 0
    answered: int = 0
    labels: int = 0
    lag_s: float = 0.0

    def add(self, other: "Quality") -> None:
        """Add what is known of other answers of the version."""
        for kind, sums in other.sums.items():
            add_to(self.sums.setdefault(kind, Tally()), sums)
        for name in ("labelled", "answered", "labels", "lag_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def measures(self, positive: str | None = None) -> dict[str, float]:
        """Return every figure by name; of two kinds of truth of one version the one with more answers."""
        if not self.sums:
            return {}
        kind = max(self.sums, key=lambda one: self.sums[one]["answers", ""])
        return measures(kind, self.sums[kind], positive)


class QualityWindow:
    """Counts the last days again and again, looking only at what is new.

    Once an hour it counts all of them: a truth that came in parts, or was corrected, has moved since it was counted.
    """

    def __init__(self) -> None:
        self._steps: dict[float, dict[Version, Quality]] = {}
        self._until: float | None = None
        self._counted_at: float | None = None

    def read(self, connection: sa.Connection, now: float) -> dict[Version, Quality]:
        """Return what is known of each version; `now` is in seconds since 1970."""
        until = now - LATE_S
        again = self._counted_at is None or not 0 <= now - self._counted_at < STEP_S  # or the clock was set
        if again or self._until is None:
            self._steps, self._until, self._counted_at = {}, until - WINDOW_S, now
        while self._until < until:
            step = self._until // STEP_S * STEP_S
            high = min(step + STEP_S, until)
            _merge(self._steps.setdefault(step, {}), count_quality(connection, self._until, high))
            self._until = high
        for step in [one for one in self._steps if one < now - WINDOW_S - STEP_S]:
            del self._steps[step]
        total: dict[Version, Quality] = {}
        for counted in self._steps.values():
            _merge(total, counted)
        _merge(total, count_quality(connection, until, None))
        return total

    def collect(self, connection: sa.Connection, now: float) -> Iterator[list[str]]:
        """Return the metrics."""
        versions = sorted(self.read(connection, now).items())
        positive = _read_positive(connection)

        def family(name: str, about: str, values: Mapping[Version, float]) -> list[str]:
            rows: list[Row] = [({"model": model, "version": version}, one) for (model, version), one in values.items()]
            return write_family(name, "gauge", about, rows)

        figures: list[Row] = [
            ({"model": model, "version": version, "measure": name}, value)
            for (model, version), one in versions
            for name, value in one.measures(positive.get((model, version))).items()
        ]
        yield write_family(
            "marina_quality", "gauge", "Of the labels of the last 7 days: how good answers were.", figures
        )
        rows = [
            ({"model_version": of["version"], "metric": of["measure"]}, n) for of, n in figures if of["model"] == MARKET
        ]
        yield write_family("crypto_rebal_ml_model_performance", "gauge", "The same of the market's alerts.", [*rows])
        about = "Requests of which a label came in the last 7 days."
        yield family("marina_labelled_requests", about, {key: one.labelled for key, one in versions})
        about = "Requests that were answered in the last 7 days, by the version that the gateway chose."
        yield family("marina_answered_requests", about, {key: one.answered for key, one in versions})
        about = "Mean time from an answer to its label, of those of the last 7 days."
        lags = {key: one.lag_s / one.labels for key, one in versions if one.labels}
        yield family("marina_label_lag_seconds", about, lags)


def count_quality(
    connection: sa.Connection, low: float, high: float | None, model: str | None = None
) -> dict[Version, Quality]:
    """Count the labels that came, and the requests that were answered, from `low` up to `high`.

    Parameters
    ----------
    connection
        To read from.
    low, high
        Seconds since 1970; None is no bound.
    model
        Which; all where none is named.

    Returns
    -------
    dict of (str, str) to Quality
        By model and version.
    """
    found: dict[Version, Quality] = {}
    given = PREDICTIONS.c
    mine = [] if model is None else [given.model == model]

    def of(row: Any) -> Quality:
        return found.setdefault((row.model, row.version), Quality())

    lag = sa.func.sum(LABELS.c.time - given.time).label("lag_s")
    keys = (given.model, given.version, given.label.label("said"), LABELS.c.label.label("true"))
    labels = (
        select_labelled(*keys, sa.func.count().label("times"), lag)
        .where(*within(LABELS.c.time, low, high), given.label.is_not(None), *mine)
        .group_by(given.model, given.version, given.label, LABELS.c.label)
    )
    for row in connection.execute(labels):
        one = of(row)
        add_to(one.sums.setdefault("label", Tally()), tally_label(row.said, row.true, row.times))
        one.labels += row.times
        one.lag_s += max(0.0, row.lag_s)
    answers = PREDICTIONS.join(
        TRUTHS, (TRUTHS.c.request_id == given.request_id) & (TRUTHS.c.instance == given.instance)
    )
    columns = (given.model, given.version, given.answer, given.time, TRUTHS.c.kind, TRUTHS.c.truth)
    truths = sa.select(*columns, TRUTHS.c.time.label("known_at")).select_from(answers)
    for row in connection.execute(truths.where(*within(TRUTHS.c.time, low, high), *mine)):
        [kind] = [one for one in KINDS if one == row.kind] or ["label"]
        one = of(row)
        sums = tally(kind, read_parts(kind, orjson.loads(row.answer)), orjson.loads(row.truth))
        add_to(one.sums.setdefault(kind, Tally()), sums)
        one.labels += 1
        one.lag_s += max(0.0, row.known_at - row.time)
    for table in (LABELS, TRUTHS):
        joined = PREDICTIONS.join(
            table, (table.c.request_id == given.request_id) & (table.c.instance == given.instance)
        )
        requests = sa.func.count(given.request_id.distinct()).label("requests")
        asked = sa.select(given.model, given.version, requests).select_from(joined)
        asked = asked.where(*within(table.c.time, low, high), given["picked"], *mine)
        for row in connection.execute(asked.group_by(given.model, given.version)):
            of(row).labelled += row.requests
    seen = EVIDENCE.c
    answered = sa.func.sum(seen.requests - seen.errors).label("answered")
    windows = sa.select(seen.model, seen.version, answered).where(*within(seen.start, low, high))
    windows = windows if model is None else windows.where(seen.model == model)
    for row in connection.execute(windows.group_by(seen.model, seen.version)):
        of(row).answered += int(row.answered)
    return found


def _merge(into: dict[Version, Quality], more: Mapping[Version, Quality]) -> None:
    for version, quality in more.items():
        into.setdefault(version, Quality()).add(quality)


def _read_positive(connection: sa.Connection) -> dict[Version, str]:
    """Return of the versions that have two classes the one that is asked about, which is the second."""
    classes = connection.execute(sa.select(LABEL_SETS.c.model, LABEL_SETS.c.version, LABEL_SETS.c.labels))
    found = {(row.model, row.version): json.loads(row.labels) for row in classes}
    return {version: labels[1] for version, labels in found.items() if len(labels) == 2}
