"""The largest mean at which a stream has not moved: the reference's upper confidence bound, plus the tolerance."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.quality.intervals import upper_bound

Z = 1.645
"""The bound of each stream fails in 5 % of references."""


def limit(share: ArrayLike, rows: ArrayLike, tolerance: float) -> NDArray[np.float64]:
    """Return the largest mean that is no drift, 1 at most."""
    return np.minimum(upper_bound(share, rows, Z) + tolerance, 1.0)
