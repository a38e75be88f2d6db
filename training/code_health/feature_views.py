"""Recorded sets as tables to learn from: what a model may look at, and the folds it is tested on.

A set is looked at twice: its columns as they are, and with them how each compares with the earlier rows of the same
project. What two models of one kind answer, one on either view, is averaged: neither view is the better one everywhere.
Where the project is known in training, both views also say which it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from training.code_health.estimators import Rows, signed_log
from training.code_health.recorded_sets import RecordedSet
from training.data import splits
from training.data.splits import Indices

Split = Literal["time", "project"]

HALF_LIFE = 500
"""After this many rows of its series a row counts half in what is usual there."""

INNER = 3
"""Folds of whole projects within the rows to train on."""

LEAST_PAST = 20
"""Rows of a series before anything is compared with what is usual there."""


def views(one: RecordedSet, split: Split) -> Mapping[str, Rows]:
    """Return the views of a set that a split allows, float32 [N, columns] each.

    A set that does not tell the time has one view, with ranks: what makes projects alike (Zhang et al., MSR 2014).
    """
    own = np.stack(list(one.columns.values()), axis=1)
    compared = np.hstack([own, relative(one, own)])
    if np.isnan(one.order).any():
        return {"compared": compared}
    if split == "project":
        return {"own": own, "compared": compared}
    which = (one.projects[:, None] == np.unique(one.projects)).astype(np.float32)
    return {"own": np.hstack([own, which]), "compared": np.hstack([compared, which])}


def relative(one: RecordedSet, own: Rows) -> Rows:
    """Compare each row with what is usual in its series: in deviations from the mean, both of tamed columns.

    Where the set tells the time, the usual is that of earlier rows only, the recent ones counting most; elsewhere it is
    a row's rank among the series' own.
    """
    series = pd.Series(one.series)
    table = pd.DataFrame(signed_log(own))
    if np.isnan(one.order).any():
        ranks: Rows = table.groupby(series).rank(pct=True).to_numpy(np.float32)
        return ranks
    result = np.empty_like(own)
    for rows in table.groupby(series, sort=False).indices.values():
        mine = table.iloc[rows]
        past = mine.shift(1).ewm(halflife=HALF_LIFE, min_periods=LEAST_PAST)
        result[rows] = ((mine - past.mean()) / (past.std() + 0.1)).to_numpy(np.float32)
    return result


def folds(one: RecordedSet, split: Split, count: int) -> list[tuple[Indices, Indices]]:
    """Return pairs of rows to train on and to test on.

    Parameters
    ----------
    one
        A set.
    split
        "time": each project's time is cut into five, and the last two are tested, on what came before; "project": whole
        projects are tested, each once.
    count
        Folds by project, at most one per project.
    """
    if split == "time":
        return splits.by_time(one.order, 4)[-2:]
    return splits.folds(one.projects, min(count, len(np.unique(one.projects))))


def inner(one: RecordedSet, rows: Indices, split: Split) -> list[tuple[Indices, Indices]]:
    """Divide rows to train on the way a split divides all: pairs of those that are fitted to and those that choose."""
    if split == "time":
        cut = np.quantile(one.order[rows], 0.8)
        return [(rows[one.order[rows] < cut], rows[one.order[rows] >= cut])]
    count = min(INNER, len(np.unique(one.projects[rows])))
    return [(rows[fitting], rows[choosing]) for fitting, choosing in splits.folds(one.projects[rows], count)]
