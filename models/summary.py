"""A row of named features in a few numbers: which of them the prediction log keeps, and training for reference."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.ranges import MISSING_SHARE


def key_numbers(rows: NDArray[Any], features: tuple[str, ...], names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return some of the numbers of each row.

    Parameters
    ----------
    rows : ndarray of float, shape (N, F)
        NaN is missing.
    features : tuple of str, length F
        What the columns are.
    names : tuple of str
        Of features, or `MISSING_SHARE`: the share of the row's features that is missing.

    Returns
    -------
    ndarray of float32, shape (N, names)

    Raises
    ------
    ValueError
        If a name is none of these.
    """
    places, at = _places(features, names)
    found: NDArray[np.float32] = rows.take(places, axis=1).astype(np.float32, copy=False)
    if at is not None:
        found[:, at] = np.add.reduce(np.isnan(rows), axis=1) / len(features)
    return found


@functools.cache
def _places(features: tuple[str, ...], names: tuple[str, ...]) -> tuple[NDArray[np.int64], int | None]:
    """Return where the names are among the features, and which of them is the share that is missing."""
    places = [0 if name == MISSING_SHARE else features.index(name) for name in names]
    return np.array(places, np.int64), names.index(MISSING_SHARE) if MISSING_SHARE in names else None
