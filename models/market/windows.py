"""Windows of hourly prices: what is enough of one, how gaps are bridged, and the returns everything is computed from.

A window is the last 168 hourly closes of several assets, [168, assets]: Bitcoin first, Ether second, then the others in
any order. All functions take many windows at once, [windows, 168, assets], and treat each as if it were alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

LOOKBACK_H: Final = 168
"""Hourly closes in a window: one week."""

LARGE: Final = ("BTC", "ETH")
"""The large caps every window must hold, in the order of its first columns."""

LEAST_ASSETS: Final = 3
MOST_MISSING: Final = 12
"""Closes one asset may lack in a window; the last one must be there."""

LEAST_USUAL: Final = 0.05
"""What the week's co-movement counts as at least: assets that hardly know each other cannot break apart."""

HALF_DAY, DAY, WEEK, DAYS, QUARTER_DAYS = 0, 1, 2, slice(3, 9), slice(9, 36)
"""Spans of a window's hours, by position: the last 12, the last 24, all; each of the last 6 days; each of the last 27
times 6 hours."""

_SPANS = [(12, 12), (24, 24), (LOOKBACK_H - 1, LOOKBACK_H - 1)]  # hours before the end at the beginning, and length
_SPANS += [(24 * k, 24) for k in range(6, 0, -1)] + [(6 * k, 6) for k in range(27, 0, -1)]
_BEGINS, _LENGTHS = np.array(_SPANS).T
_HOURS_BEFORE = np.arange(LOOKBACK_H - 1, 0, -1)[:, None]
_OF_SPANS = ((_HOURS_BEFORE <= _BEGINS) & (_HOURS_BEFORE > _BEGINS - _LENGTHS)).astype(np.float64)
"""[hours, spans], 1 where an hour is of a span: sums over all spans are one product."""

Floats = npt.NDArray[np.float64]
Windows = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Returns:
    """The hourly log returns of windows, each asset on its own scale.

    Attributes
    ----------
    scaled
        float64 [windows, 167, assets]: returns over the root mean square of that asset's returns in the window. An
        asset whose price never moved has zeros.
    scale
        float64 [windows, assets]: those root mean squares.
    """

    scaled: Floats
    scale: Floats

    @cached_property
    def spans(self) -> tuple[Floats, Floats]:
        """Co-movement (see `comovement`) and volatility (root mean square) of each span: two float64 [windows, 36]."""
        assets = self.scaled.shape[2]
        hourly = np.stack([self.scaled.sum(axis=2) ** 2, (self.scaled**2).sum(axis=2)])
        together, alone = (hourly[:, :, None, :] @ _OF_SPANS)[:, :, 0]  # a product a window: each rounds as if alone
        return ratio(together - alone, (assets - 1) * alone), np.sqrt(alone / (_LENGTHS * assets))


def returns_of(windows: Windows) -> Returns:
    """Bridge gaps and take scaled log returns.

    A missing close is the one before it: the hours of a gap have no return, and the first hour after it has all of
    them. Where a window begins with a gap, nothing is known to have moved before the first close.

    Parameters
    ----------
    windows
        float [windows, 168, assets] of positive closes; NaN is a missing one.
    """
    closes = np.log(bridged(windows))
    hourly = closes[:, 1:] - closes[:, :-1]
    scale = np.sqrt((hourly**2).sum(axis=1) / hourly.shape[1])
    return Returns(hourly / np.where(scale > 0, scale, 1.0)[:, None, :], scale)


def bridged(windows: Windows) -> Floats:
    """Return windows without gaps: each missing close is the last one before it, or the first one there is.

    Parameters
    ----------
    windows
        float [windows, hours, assets]; NaN is missing.
    """
    seen = ~np.isnan(windows)
    closes: Floats = windows.astype(np.float64)
    if seen.all():
        return closes
    hours = np.arange(windows.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(seen, hours, -1), axis=1)
    source = np.where(last >= 0, last, seen.argmax(axis=1)[:, None, :])
    return np.take_along_axis(closes, source, axis=1)


def comovement(scaled: Floats) -> Floats:
    """Return how much assets move together over some hours: 1 all as one, 0 each on its own.

    The mean covariance of two different assets over the mean variance of one: a mean of pairwise correlations weighted
    by how much the assets moved, about a mean return of zero. Unlike a mean of sample correlations it is defined, and
    comparable, for any number of assets and any number of hours from one on.

    Parameters
    ----------
    scaled
        float64 [..., hours, assets].

    Returns
    -------
    ndarray
        float64 [...], from ``-1 / (assets - 1)`` to 1; NaN where nothing moved.
    """
    together = (scaled.sum(axis=-1) ** 2).sum(axis=-1)
    alone = (scaled**2).sum(axis=(-1, -2))
    return ratio(together - alone, (scaled.shape[-1] - 1) * alone)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; NaN where the denominator is zero."""
    missing = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    quotient: Floats = np.divide(numerator, denominator, out=missing, where=denominator != 0)
    return quotient
