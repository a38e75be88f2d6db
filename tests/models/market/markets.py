"""Small made-up markets for tests: random walks with a common part."""

import numpy as np


def walk(hours: int = 400, assets: int = 5, seed: int = 0, common: float = 0.7) -> np.ndarray:
    """Return hourly closes, float64 [hours, assets], whose returns correlate by about `common`."""
    chance = np.random.default_rng(seed)
    shared = np.sqrt(common) * chance.normal(0, 0.01, (hours, 1))
    own = np.sqrt(1 - common) * chance.normal(0, 0.01, (hours, assets))
    walked: np.ndarray = 100 * np.exp(np.cumsum(shared + own, axis=0))
    return walked


def with_gaps(prices: np.ndarray, share: float = 0.02, seed: int = 0) -> np.ndarray:
    """Return the prices with some missing."""
    holed = prices.copy()
    holed[np.random.default_rng(seed).random(prices.shape) < share] = np.nan
    return holed
