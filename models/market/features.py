"""The 18 features: what a week of hourly prices says about co-movement and volatility, and what else is known.

One function computes them, for one window or for as many as a history has; nothing in a row depends on any other row
or on anything after the row's last close.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.market.windows import (
    DAY,
    DAYS,
    HALF_DAY,
    LEAST_USUAL,
    LOOKBACK_H,
    QUARTER_DAYS,
    WEEK,
    Floats,
    Returns,
    Windows,
    comovement,
    ratio,
    returns_of,
)

DEFINITIONS: Final = {
    "correlation_12h": "co-movement of 1 h returns in the last 12 h",
    "correlation_1d": "co-movement of 1 h returns in the last 24 h",
    "correlation_4h": "co-movement of overlapping 4 h returns in the last 72 h",
    "correlation_volatility": "standard deviation of the co-movements of the last six days",
    "correlation_trend": "how far the last 24 h have moved from the week's co-movement: share of the way to 1, or to 0",
    "systemic_concentration": "(largest eigenvalue of the week's correlation matrix - 1) / (assets - 1)",
    "btc_eth_correlation": "correlation of Bitcoin's and Ether's 1 h returns in the last 24 h",
    "large_alt_spread": "mean scaled return of the last 24 h, Bitcoin and Ether minus the others, / sqrt(24)",
    "cluster_stability": "1 - mean absolute difference of the pairs' correlations, last half of the week against first",
    "realised_volatility": "ln of the hourly volatility of the week, mean over assets",
    "volatility_momentum_1d": "ln of the volatility of the last 24 h over that of the week",
    "volatility_momentum_12h": "ln of the volatility of the last 12 h over that of the last 24 h",
    "volatility_of_volatility": "standard deviation of ln of the volatilities of the last 27 blocks of 6 h",
    "skew": "share of squared returns of the last 24 h that were gains minus the share that were losses, -1 to 1",
    "fear_greed": "Fear & Greed index of the day before, 0 (fear) to 100 (greed)",
    "funding_rate": "mean of the last 8 h funding rates of perpetual futures, as a fraction",
    "sentiment": "sentiment of news or posts, -1 to 1",
    "decision_confidence": "confidence of the caller's own decisions, 0 to 1",
}
"""What each feature is. Returns are log returns, scaled per asset by its root mean square in the week; a volatility is
a root mean square over hours and assets; co-movement is `windows.comovement`."""

NAMES: Final = tuple(DEFINITIONS)
CONTEXT: Final = NAMES[-4:]
"""The features that are not computed from prices: given, or NaN."""

_FLOOR = 1e-3
"""The least volatility a logarithm is taken of, in units of the week's: hours in which nothing was traded."""

_STILL = 1e-8
"""The same in absolute terms, for a market whose prices never moved."""

_CHUNK = 1024
"""Windows of a history that are computed at once: 1024 weeks of 13 assets are 18 MB."""


def features(
    windows: Windows, context: npt.NDArray[Any] | None = None, returns: Returns | None = None
) -> npt.NDArray[np.float32]:
    """Compute the features of many windows.

    Parameters
    ----------
    windows
        float [windows, 168, assets]: hourly closes, NaN where missing, Bitcoin and Ether first.
    context
        float [windows, 4]: what is known besides prices, in the order of `CONTEXT`; NaN, or no array, where nothing is.
    returns
        The windows' returns where they have been computed already.

    Returns
    -------
    ndarray
        float32 [windows, 18], in the order of `NAMES`. What cannot be said, such as how assets move together that do
        not move, is NaN.
    """
    given = returns or returns_of(windows)
    z = given.scaled
    path = np.cumsum(z, axis=1)  # scaled log prices, but for a constant
    count, _, assets = z.shape
    tied, volatility = given.spans
    ln_volatility = np.log(np.maximum(volatility, _FLOOR))
    table = np.full((count, len(NAMES)), np.nan)
    table[:, 0] = tied[:, HALF_DAY]
    table[:, 1] = tied[:, DAY]
    table[:, 2] = comovement(path[:, -72:] - path[:, -76:-4])
    table[:, 3] = tied[:, DAYS].std(axis=1)
    table[:, 4] = _move(tied[:, DAY], tied[:, WEEK])
    table[:, 5] = (np.linalg.eigvalsh(correlations(z))[:, -1] - 1) / (assets - 1)
    large, ether = z[:, -24:, 0], z[:, -24:, 1]
    table[:, 6] = ratio((large * ether).sum(axis=1), np.sqrt((large**2).sum(axis=1) * (ether**2).sum(axis=1)))
    gained = z[:, -24:].sum(axis=1) / np.sqrt(24)  # (windows, assets)
    table[:, 7] = gained[:, :2].sum(axis=1) / 2 - gained[:, 2:].sum(axis=1) / (assets - 2)
    drift = np.abs(correlations(z[:, -83:]) - correlations(z[:, :-83])).sum(axis=(1, 2))
    table[:, 8] = 1 - drift / (assets * (assets - 1))
    table[:, 9] = np.log(np.maximum(given.scale, _STILL)).sum(axis=1) / assets
    table[:, 10] = ln_volatility[:, DAY]
    table[:, 11] = ln_volatility[:, HALF_DAY] - ln_volatility[:, DAY]
    table[:, 12] = ln_volatility[:, QUARTER_DAYS].std(axis=1)
    squares = z[:, -24:] * np.abs(z[:, -24:])
    table[:, 13] = ratio(squares.sum(axis=(1, 2)), np.abs(squares).sum(axis=(1, 2)))
    if context is not None:
        table[:, 14:] = context
    return table.astype(np.float32)


def rolling(
    prices: Windows, at: npt.NDArray[np.int64], context: npt.NDArray[Any] | None = None
) -> npt.NDArray[np.float32]:
    """Compute the features of a history at some of its hours: of the windows that end there.

    Parameters
    ----------
    prices
        float [hours, assets] without a break in the hours; NaN where a close is missing.
    at
        int64 [N], positions of the last hours, 167 or more.
    context
        float [hours, 4], what was known at each hour.

    Returns
    -------
    ndarray
        float32 [N, 18]; the same numbers, up to rounding, as `features` gives for each window alone.
    """
    parts = [features(windows, None if context is None else context[ends]) for ends, windows in windows_of(prices, at)]
    return np.concatenate(parts) if parts else np.empty((0, len(NAMES)), np.float32)


def windows_of(prices: Windows, at: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], Windows]]:
    """Yield the windows of a history that end at some of its hours, a thousand or so at a time, with those hours.

    Raises
    ------
    ValueError
        If an hour has no whole week up to it.
    """
    if len(at) and not LOOKBACK_H - 1 <= at.min() <= at.max() < len(prices):
        raise ValueError(f"expected hours from {LOOKBACK_H - 1} to {len(prices) - 1}, got {at.min()} to {at.max()}")
    for start in range(0, len(at), _CHUNK):
        ends = at[start : start + _CHUNK]
        yield ends, prices[ends[:, None] + np.arange(1 - LOOKBACK_H, 1)]


def usual(table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return each feature's median over rows, float32 [18]; NaN for what is missing in all of them."""
    known = np.isfinite(table).any(axis=0)
    medians = np.full(table.shape[1], np.nan, np.float32)
    medians[known] = np.nanmedian(table[:, known], axis=0)
    return medians


def correlations(scaled: Floats) -> Floats:
    """Return the assets' correlations about a mean of zero.

    Parameters
    ----------
    scaled
        float64 [windows, hours, assets].

    Returns
    -------
    ndarray
        float64 [windows, assets, assets]; an asset that does not move has zeros beside its 1.
    """
    products = np.swapaxes(scaled, 1, 2) @ scaled
    size = np.sqrt(np.einsum("wii->wi", products))
    size[size == 0] = np.inf
    found: Floats = products / (size[:, :, None] * size[:, None, :])
    np.einsum("wii->wi", found)[:] = 1.0
    return found


def _move(now: Floats, usual: Floats) -> Floats:
    """Return the share of the way from a usual co-movement to 1 that has been made, or to 0 as a negative number."""
    room = np.where(now > usual, 1 - usual, usual)
    return (now - usual) / np.maximum(room, LEAST_USUAL)
