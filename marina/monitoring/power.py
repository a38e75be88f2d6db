"""What the detectors could see with today's traffic, and how many requests they need to see a shift."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marina.monitoring.e_detector import LOG_SHARES, MONTH_S, STEPS, needed

HALVINGS = 50
BATCH_S = 3600.0


def growth(share: ArrayLike, limit: ArrayLike) -> NDArray[np.float64]:
    """Return by how much evidence is expected to grow with each independent request, by the best stake; 0 at least.

    Parameters
    ----------
    share, limit
        The mean that came to be, and the largest that is no drift.
    """
    q, m = np.broadcast_arrays(np.asarray(share, np.float64), np.clip(np.asarray(limit, np.float64), 1e-9, 1 - 1e-6))
    odds = np.log(m) - np.log1p(-m)
    other = 1 / (1 + np.exp(-(odds[..., None] + STEPS)))
    rise, fall = np.log(other) - np.log(m)[..., None], np.log1p(-other) - np.log1p(-m)[..., None]
    return np.asarray(np.maximum((fall + q[..., None] * (rise - fall)).max(axis=-1), 0.0))


def to_gain(streams: int, budget: float) -> float:
    """Return how far evidence has to grow from nothing until one stream is an alarm."""
    return needed(streams, budget) - math.log(BATCH_S / MONTH_S) - float(LOG_SHARES[0])


def requests_needed(share: float, limit: float, streams: int, budget: float, dispersion: float = 1.0) -> float:
    """Return about how many requests pass until a shift is seen; infinite where it is inside the limit."""
    gained = float(growth(share, limit))
    return math.inf if gained <= 0 else max(1.0, dispersion) * to_gain(streams, budget) / gained


def detectable(limit: float, requests: float, streams: int, budget: float, dispersion: float = 1.0) -> float:
    """Return the smallest share that so many requests would have shown to be drift; 1 where none would."""
    low, high = limit, 1.0
    if requests <= 0 or requests_needed(high, limit, streams, budget, dispersion) > requests:
        return 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if requests_needed(middle, limit, streams, budget, dispersion) > requests:
            low = middle
        else:
            high = middle
    return high
