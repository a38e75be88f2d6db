"""Counts of answers by their first label, for the metrics that are named after a product.

Labels are those of the version's contract; any other is ``other``, so that no answer can make a series.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from marina.database.tables import LABEL_SETS, PREDICTIONS
from marina.events.exposition import write_family
from marina.events.version_counts import within

SIGNS, MARKET = "signflow", "market_alerts"
"""The models whose answers are counted."""

OTHER = "other"
SEVERITIES = ("S2", "S3")
LATE_S = 60.0
"""Answers that are logged later than this are no longer counted here."""

Key = tuple[str, str, str, str]
"""Model, version, label, severity."""


class LabelCounts:
    """Counts that only grow; what is older than `LATE_S` is counted once.

    Parameters
    ----------
    since
        Where they begin, in seconds since 1970.
    """

    def __init__(self, since: float) -> None:
        self._settled: Counter[Key] = Counter()
        self._until = since

    def to_json(self) -> dict[str, Any]:
        """Return what is settled as JSON values."""
        return {"until": self._until, "counts": [[*key, count] for key, count in self._settled.items()]}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Continue from what `to_json` gave, read from text."""
        self._until = float(values["until"])
        self._settled = Counter({(m, v, label, severity): n for m, v, label, severity, n in values["counts"]})

    def count(self, connection: sa.Connection, now: float) -> Counter[Key]:
        """Return all counts up to now."""
        sets = sa.select(LABEL_SETS).where(LABEL_SETS.c.model.in_((SIGNS, MARKET)))
        known = {(row.model, row.version): frozenset(json.loads(row.labels)) for row in connection.execute(sets)}
        until = now - LATE_S
        if until < self._until - LATE_S:  # the clock was ahead
            self._settled, self._until = Counter(), now
        if until > self._until:
            self._settled.update(_count(connection, known, self._until, until))
            self._until = until
        return self._settled + _count(connection, known, self._until, None)


def write_label_counts(counts: Mapping[Key, int]) -> Iterable[list[str]]:
    """Write ``signflow_inference_total`` and ``crypto_rebal_ml_predictions_total``."""
    signs: Counter[tuple[str, str]] = Counter()
    alerts: Counter[tuple[str, str, str]] = Counter()
    for (model, version, label, severity), count in counts.items():
        if model == SIGNS:
            signs[version, label] += count
        else:
            alert, _, horizon = label.partition("@")
            alerts[alert, horizon.removesuffix("h") or OTHER, severity] += count
    about = "SignFlow's answers, by their most probable sign."
    rows = [({"model_version": version, "sign": sign}, count) for (version, sign), count in sorted(signs.items())]
    yield write_family("signflow_inference_total", "counter", about, rows)
    about = "The market model's answers, by their most probable alert, its horizon in hours and its severity."
    of_market = [
        ({"alert_type": alert, "horizon": horizon, "severity": severity}, count)
        for (alert, horizon, severity), count in sorted(alerts.items())
    ]
    yield write_family("crypto_rebal_ml_predictions_total", "counter", about, of_market)


def _count(
    connection: sa.Connection, known: Mapping[tuple[str, str], frozenset[str]], low: float, high: float | None
) -> Counter[Key]:
    given = PREDICTIONS.c
    counts: Counter[Key] = Counter()
    for (model, version), labels in known.items():
        severity = _severity(connection) if model == MARKET else sa.literal("")
        chosen = (
            sa.select(given.label, severity.label("severity"), sa.func.count().label("answers"))
            .where(given.model == model, given.version == version, *within(given.time, low, high))
            .group_by(given.label, sa.text("2"))
        )
        for row in connection.execute(chosen):
            label = row.label if row.label in labels else OTHER
            found = next((name for name in SEVERITIES if name in row.severity), "none" if model == MARKET else "")
            counts[model, version, label, found] += row.answers
    return counts


def _severity(connection: sa.Connection) -> sa.ColumnElement[str]:
    """Return what follows the first ``"severity":`` of an answer: that of the most probable alert."""
    name = '"severity":'
    find = sa.func.strpos if connection.dialect.name == "postgresql" else sa.func.instr
    return sa.func.substr(PREDICTIONS.c.answer, find(PREDICTIONS.c.answer, name) + len(name), 5)
