"""What a window of closes is held to: measures that tell a feed at fault from a market that moves.

Every measure is of one asset in one window, so that a fault can be laid at an asset's door. What a measure can be at
all, whatever the market, is `POSSIBLE`; what it was in the hours a model learned from is the contract's ``usual``.
Training learns from no window with an impossible asset; serving leaves out an asset whose closes are `MISSING`, while
enough others are there, and refuses the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.market.windows import LOOKBACK_H, MOST_MISSING, Floats, Windows, bridged
from models.ranges import Bounds, Range

MEASURES: Final = (
    "missing_h",
    "age_h",
    "still_h",
    "unmoved_h",
    "market_unmoved_h",
    "repeated_h",
    "typical_move",
    "largest_move",
    "rising_share",
    "twin_correlation",
)
"""The measures, in the order of every axis of them.

====================  ==================================================================================================
``missing_h``         closes that are missing
``age_h``             hours since the last close that is there
``still_h``           longest run of hours in which the close stayed the same
``unmoved_h``         hours in which the close was the one before it
``market_unmoved_h``  hours in which this was so of every asset
``repeated_h``        hours in which the last six closes are exactly six earlier ones
``typical_move``      median of the hourly log returns' magnitudes
``largest_move``      largest hourly log return, up or down; a gap's is the one over all of it
``rising_share``      of the hours that moved, the share that rose; NaN where fewer than 24 did
``twin_correlation``  largest correlation with another asset's hourly returns in one of the last six days
====================  ==================================================================================================
"""

MISSING: Final = frozenset({"missing_h", "age_h", "still_h", "unmoved_h"})
"""Measures of closes that are not there, or stand for ones that are not: an asset that fails them can be left out."""

POSSIBLE: Final[Mapping[str, Range]] = {
    "missing_h": (None, MOST_MISSING),
    "age_h": (None, 0),
    "still_h": (None, MOST_MISSING),
    "unmoved_h": (None, 72),
    "market_unmoved_h": (None, MOST_MISSING),
    "repeated_h": (None, MOST_MISSING),
    "largest_move": (None, float(np.log(8))),
    "typical_move": (None, 0.1),
    "rising_share": (0.05, 0.95),
    "twin_correlation": (None, 1 - 1e-6),
    "fear_greed": (0, 100),
    "funding_rate": (-0.0075, 0.0075),
    "sentiment": (-1, 1),
    "decision_confidence": (0, 1),
}
"""What a measure, or what is given beside prices, can be. A still feed is as bad as a gap as long. A lost decimal point
is a factor of ten; no large asset has moved by a factor of eight within an hour. Volumes move by a third an hour.
The mean funding of the recorded assets was never beyond 0.32 % per 8 h; 0.01 is what 0.01 % is by mistake."""

_RUN = 6
"""Closes in a row that are looked for elsewhere in a window: fewer are found by chance where prices have few digits."""

_FEW_MOVES, _DAYS = 24, 6


def measure(windows: Windows) -> Floats:
    """Measure every asset of every window.

    Parameters
    ----------
    windows
        float [windows, 168, assets]; NaN is a missing close.

    Returns
    -------
    ndarray
        float64 [windows, assets, measures], in the order of `MEASURES`; NaN where a measure cannot be taken.
    """
    seen = ~np.isnan(windows)
    hours = np.arange(LOOKBACK_H)[:, None]
    logs = np.log(bridged(windows))
    hourly = logs[:, 1:] - logs[:, :-1]
    size = np.abs(hourly)
    same = windows[:, 1:] == windows[:, :-1]  # a missing close equals none
    moved, rose = (size > 0).sum(axis=1), (hourly > 0).sum(axis=1)
    count, _, assets = windows.shape
    found = np.empty((count, assets, len(MEASURES)))
    found[:, :, 0] = LOOKBACK_H - seen.sum(axis=1)
    found[:, :, 1] = LOOKBACK_H - 1 - np.where(seen, hours, -1).max(axis=1)
    last_moved = np.maximum.accumulate(np.where(same, 0, hours[1:]), axis=1)
    found[:, :, 2] = (hours[1:] - last_moved).max(axis=1)
    found[:, :, 3] = same.sum(axis=1)
    found[:, :, 4] = same.all(axis=2).sum(axis=1)[:, None]
    found[:, :, 5] = _repeated(windows)
    found[:, :, 6] = np.partition(size, LOOKBACK_H // 2 - 1, axis=1)[:, LOOKBACK_H // 2 - 1]
    found[:, :, 7] = size.max(axis=1)
    found[:, :, 8] = np.where(moved >= _FEW_MOVES, rose / np.maximum(moved, 1), np.nan)
    found[:, :, 9] = twins(hourly).max(axis=2)
    return found


def twins(hourly: Floats) -> Floats:
    """Return the largest correlation of any two assets in one of the last six days.

    Parameters
    ----------
    hourly
        float64 [windows, 167, assets]: hourly log returns.

    Returns
    -------
    ndarray
        float64 [windows, assets, assets]; -1 of an asset with itself, 0 where one did not move.
    """
    count, _, assets = hourly.shape
    days = np.nan_to_num(hourly[:, -24 * _DAYS :]).reshape(count, _DAYS, 24, assets)
    length = np.sqrt((days**2).sum(axis=2, keepdims=True))
    days = days / np.where(length > 0, length, 1.0)
    found: Floats = (np.swapaxes(days, 2, 3) @ days).max(axis=1)
    np.einsum("wii->wi", found)[:] = -1.0
    return found


def find_impossible(windows: Windows) -> npt.NDArray[np.bool_]:
    """Return which measures some asset of a window fails, bool [windows, measures]; what fails none is sound."""
    impossible: npt.NDArray[np.bool_] = np.any(Bounds.read(POSSIBLE, MEASURES).outside(measure(windows)), axis=1)
    return impossible


def _repeated(windows: Windows) -> npt.NDArray[Any]:
    """Return how often the last six closes are exactly six earlier ones, [windows, assets]."""
    # equal runs have equal weighted sums, to the last bit; others do not but by a chance of 1 in 10^12
    runs = LOOKBACK_H - _RUN + 1
    keys = sum(np.sqrt(k + 2.0) * windows[:, k : k + runs] for k in range(_RUN))
    ordered = np.sort(keys, axis=1)
    repeated: npt.NDArray[Any] = (ordered[:, 1:] == ordered[:, :-1]).sum(axis=1)
    return repeated
