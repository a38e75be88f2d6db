"""What a household's month is like: how many categories it has, and the means of their key features."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.budget.forecast_features import FEATURES
from models.ranges import MISSING_SHARE
from models.summary import key_numbers

MEANS: Final = (
    MISSING_SHARE,
    "last_month",
    "mean_3",
    "trend_12",
    "empty_months_12",
    "same_month_last_year",
    "progress",
    "spent",
    "noise",
    "noise_of_rest",
    "nothing_more",
    "spent_vs_usual",
    "lately_or_always",
    "total_last_3",
    "rest_last_3",
)
SUMMARY: Final = ("categories", *MEANS)
"""Number of categories; means over them of features that `models.budget.forecast_features` names, over those that have
one, and of the share of features that are missing."""


def summarise(rows: NDArray[np.float32], counts: NDArray[Any]) -> NDArray[np.float32]:
    """Summarise households.

    Parameters
    ----------
    rows : ndarray of float32, shape (R, F)
        Features of all their categories, one household after the other.
    counts : ndarray of int64, shape (N,)
        Categories of each, at least one.

    Returns
    -------
    ndarray of float32, shape (N, 16)
        In the order of `SUMMARY`; NaN where no category has a feature.
    """
    starts = np.cumsum(counts) - counts
    numbers = key_numbers(rows, FEATURES, MEANS).astype(np.float64)
    there = ~np.isnan(numbers)
    known = np.add.reduceat(there, starts, axis=0, dtype=np.int64)
    sums = np.add.reduceat(np.where(there, numbers, 0.0), starts, axis=0)
    means = np.full(sums.shape, np.nan)
    np.divide(sums, known, out=means, where=known > 0)
    return np.concatenate([np.asarray(counts)[:, None], means], axis=1).astype(np.float32)
