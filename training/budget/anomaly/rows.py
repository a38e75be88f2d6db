"""Transactions of many users to rows of features, each judged against what its user could have sent along."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from models.budget.anomaly_features import FEATURES, features
from models.budget.anomaly_history import History, merchant_keys

if TYPE_CHECKING:
    import pandas as pd

HISTORY: Final = 500
"""Earlier rows that a transaction is judged against, at most: what a request may hold."""

AT_ONCE: Final = 60
"""Rows judged at once; only how much memory it takes follows from it."""


@dataclass(frozen=True)
class Table:
    """N judged transactions.

    Attributes
    ----------
    rows
        float32 [N, F], `models.budget.anomaly_features.FEATURES`.
    users, kinds
        str [N]: whose, and which kind of anomaly; "" for none known.
    before
        int64 [N], how many earlier rows of the user there are.
    """

    rows: npt.NDArray[np.float32]
    users: npt.NDArray[np.str_]
    kinds: npt.NDArray[np.str_]
    before: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def odd(self) -> npt.NDArray[np.bool_]:
        """Which rows are known anomalies."""
        known: npt.NDArray[np.bool_] = self.kinds != ""
        return known

    def select(self, which: npt.NDArray[Any]) -> Table:
        """Return some of the rows."""
        return Table(self.rows[which], self.users[which], self.kinds[which], self.before[which])


def table(frame: pd.DataFrame, only: npt.NDArray[np.bool_] | None = None) -> Table:
    """Judge every transaction of every user.

    Parameters
    ----------
    frame
        Sorted by user and date, with the columns ``user``, ``date``, ``label``, ``amount`` (negative is spent) and
        ``anomaly``. About 0.06 ms a row.
    only
        bool [N]: rows to judge; the others are history. All if it is None.
    """
    users = frame["user"].to_numpy().astype(np.str_)
    days = frame["date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    amounts = frame["amount"].to_numpy().astype(np.float64)
    keys = merchant_keys(frame["label"].tolist())
    chosen = np.ones(len(frame), bool) if only is None else only
    edges = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1], [True]]))
    before = np.concatenate([np.arange(end - start) for start, end in itertools.pairwise(edges.tolist())])
    blocks = []
    for start, end in itertools.pairwise(edges.tolist()):
        for first in range(start, end, AT_ONCE):
            judged = first + np.flatnonzero(chosen[first : min(first + AT_ONCE, end)])
            if not len(judged):
                continue
            oldest = max(start, int(judged[0]) - HISTORY)
            # the last row's day is seen to its end, as in a request that brings the day's statement
            last = start + int(np.searchsorted(days[start:end], days[judged[-1]], side="right"))
            history = History(keys[oldest:last], days[oldest:last], amounts[oldest:last], judged - oldest)
            blocks.append(features(history)[0])
    rows = np.concatenate(blocks) if blocks else np.zeros((0, len(FEATURES)), np.float32)
    kinds = frame["anomaly"].to_numpy().astype(np.str_)
    return Table(rows, users[chosen], kinds[chosen], before[chosen])
