"""Means and medians of rows with gaps: what numpy's own do, without warnings about rows of nothing but gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def mean(rows: Floats) -> Floats:
    """Return each row's mean, NaN left out; NaN for a row of nothing else.

    Parameters
    ----------
    rows : ndarray of float64, shape (N, K)
    """
    means: Floats = np.add.reduce(rows, axis=1) / rows.shape[1]
    if not np.isnan(means).any():
        return means
    known = ~np.isnan(rows)
    count = known.sum(axis=1)
    total = np.where(known, rows, 0.0).sum(axis=1)
    means = np.divide(total, count, where=count > 0, out=np.full(len(rows), np.nan))
    return means


def variance(rows: Floats, means: Floats) -> Floats:
    """Return each row's variance about its mean, which is known, NaN left out; NaN for a row of nothing else."""
    return mean((rows - means[:, None]) ** 2)


def median(rows: Floats) -> Floats:
    """Return each row's median, NaN left out; NaN for a row of nothing else.

    Parameters
    ----------
    rows : ndarray of float64, shape (N, K)
        K at least 1.
    """
    width = rows.shape[1]
    ordered = np.sort(rows, axis=1)  # NaN goes last
    low, high = ordered[:, (width - 1) // 2], ordered[:, width // 2]
    if np.isnan(ordered[:, -1]).any():
        count, at = (~np.isnan(ordered)).sum(axis=1), np.arange(len(rows))
        low, high = ordered[at, (count - 1) // 2], ordered[at, count // 2]  # of none, the last and the first are NaN
    middle: Floats = (low + high) / 2
    return middle
