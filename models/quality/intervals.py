"""How far a mean may be from what was measured."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def upper_bound(share: ArrayLike, rows: ArrayLike, z: float) -> NDArray[np.float64]:
    """Return Wilson's upper bound (1927) of a mean of numbers from 0 to 1; of all such, shares vary most.

    Parameters
    ----------
    share : array_like of float
        The mean in the reference.
    rows : array_like of float
        Of how many rows; 0 where there are none, of which nothing is known.
    z
        Standard deviations.
    """
    p, n = np.asarray(share, np.float64), np.maximum(np.asarray(rows, np.float64), 1e-9)
    centre = p + z**2 / (2 * n)
    width = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.asarray((centre + width) / (1 + z**2 / n))
