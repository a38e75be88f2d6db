"""What the last answers of each declared version look like: how alike they are, and their inputs.

Each version's last `WINDOW` answers are read by index, so a scrape costs the same however much is logged. Names come of
contracts alone: no answer can make a series.
"""

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from marina.database.tables import DECLARATIONS, LABEL_SETS, PREDICTIONS
from marina.events.exposition import Row, write_family
from marina.events.label_counts import MARKET, OTHER, SIGNS

WINDOW = 1000
"""Answers of a version that are looked at."""

LEAST = 100
"""Of fewer answers nothing is said about how alike they are: one is always like itself."""

Names = Callable[[str, str, str], Sequence[str]]
"""Returns what the numbers of a version's input summaries are called, by model, version and path of the archive."""


@dataclass(frozen=True)
class Features:
    """Of one version's input summaries.

    Attributes
    ----------
    zero
        Share of the numbers that are exactly 0.
    quality
        By name, the share of numbers that are there: neither missing nor infinite.
    """

    zero: float
    quality: Mapping[str, float]


def collect_answers(connection: sa.Connection, names: Names) -> Iterable[list[str]]:
    """Write the families of this module, from the database as it is now.

    Parameters
    ----------
    names
        How summaries' numbers are called; of a version without any, nothing is said about features.
    """
    declared = connection.execute(
        sa.select(DECLARATIONS.c.model, DECLARATIONS.c.version, DECLARATIONS.c.archive).order_by(
            DECLARATIONS.c.model, DECLARATIONS.c.weight, DECLARATIONS.c.version
        )
    ).all()
    alike: list[Row] = []
    zeros: list[Row] = []
    signs: dict[str, list[float]] = defaultdict(list)
    quality: dict[str, float] = {}
    for model, version, archive in declared:
        rows = _last(connection, model, version)
        if not rows:
            continue
        labels = {"model": model, "version": version}
        said = Counter((row.label, row.value) for row in rows if (row.label, row.value) != (None, None))
        if said.total() >= LEAST:
            alike.append((labels, max(said.values()) / said.total()))
        if len(rows) >= LEAST and (
            features := measure_features([row.summary for row in rows], names(model, version, archive))
        ):
            zeros.append((labels, features.zero))
            if model == MARKET:
                quality = dict(features.quality)
        if model == SIGNS:
            known = _classes(connection, model, version)
            for row in rows:
                if row.confidence is not None and row.label is not None:
                    signs[row.label if row.label in known else OTHER].append(row.confidence)
    about = f"Largest share of the last {WINDOW} answers that say the same."
    yield write_family("marina_identical_answers_ratio", "gauge", about, alike)
    about = f"Share of zeros among the features of the last {WINDOW} inputs, as they are summarised."
    yield write_family("marina_zero_features_ratio", "gauge", about, zeros)
    about = f"Mean confidence of the last {WINDOW} answers of each version, by sign."
    means: list[Row] = [({"sign": sign}, statistics.fmean(found)) for sign, found in sorted(signs.items())]
    yield write_family("signflow_prediction_confidence", "gauge", about, means)
    about = f"Share of the last {WINDOW} market inputs in which the feature is there."
    there: list[Row] = [({"feature_name": name}, share) for name, share in sorted(quality.items())]
    yield write_family("crypto_rebal_ml_feature_quality", "gauge", about, there)


def measure_features(summaries: Iterable[str | None], names: Sequence[str]) -> Features | None:
    """Measure summaries of inputs.

    Parameters
    ----------
    summaries
        JSON lists of numbers, null where one is missing; None and others of another length are left out.
    names
        What their numbers are called.

    Returns
    -------
    Features or None
        None where there is nothing to measure.
    """
    there, zeros, count = [0] * len(names), 0, 0
    for text in summaries:
        values = orjson.loads(text) if text else None
        if not isinstance(values, list) or len(values) != len(names):
            continue
        count += 1
        for place, value in enumerate(values):
            if value is not None:
                there[place] += 1
                zeros += value == 0
    if not count or not names:
        return None
    shares = {name: found / count for name, found in zip(names, there, strict=True)}
    return Features(zeros / (count * len(names)), shares)


def _last(connection: sa.Connection, model: str, version: str) -> Sequence[Any]:
    given = PREDICTIONS.c
    chosen = sa.select(given.label, given.value, given.confidence, given.summary)
    chosen = chosen.where(given.model == model, given.version == version).order_by(given.time.desc()).limit(WINDOW)
    return connection.execute(chosen).all()


def _classes(connection: sa.Connection, model: str, version: str) -> frozenset[str]:
    chosen = sa.select(LABEL_SETS.c.labels).where(LABEL_SETS.c.model == model, LABEL_SETS.c.version == version)
    return frozenset(json.loads(connection.execute(chosen).scalar() or "[]"))
