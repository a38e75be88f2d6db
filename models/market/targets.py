"""What came true: for each hour of a history, which of the sixteen events followed it.

Everything an event is measured against (each asset's scale, the week's co-movement, the regime) is taken from the
window up to the hour, and stays as it is while the hours after it are looked at. So a threshold never knows the future,
and of the future an outcome knows the hours up to its horizon and no more.

========================= ==========================================================================================
SPIKE_LIKELY              at some hour of the next h, the co-movement of the 24 h up to it has made 40 % or more of the
                          way from the week's co-movement to 1
CORRELATION_BREAKDOWN     at some hour of the next h, it has lost a third or more of the week's
VOLATILITY_SPIKE_IMMINENT at some hour of the next h, the 24 h up to it are 1.5 times as volatile as the week or more
REGIME_CHANGE_PENDING     after h hours, the regime of the 24 h up to then is another than now
========================= ==========================================================================================

The first three look at any hour up to the horizon, so they are nested: what happens within 4 h happens within 12.
A state that holds already counts if it still holds an hour later; `Outcomes.already` tells those hours apart, and an
evaluation that leaves them out asks for news only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.market.alerts import HORIZONS_H, QUESTIONS
from models.market.features import windows_of
from models.market.state import State, state_of
from models.market.windows import Floats, Returns, Windows, bridged, comovement, ratio, returns_of

LONGEST_H = max(HORIZONS_H)
DAY_H = 24


@dataclass(frozen=True)
class Outcomes:
    """What followed N hours.

    Attributes
    ----------
    happened
        bool [N, 16], in the order of `alerts.LABELS`.
    already
        bool [N, 16]: whether the state the alert is about held at the hour itself; never for regime changes.
    persisted
        bool [N, 16]: what the forecast "tomorrow as today" answers: that the state holds already; of
        regime changes, that the regime has changed over the last hours, as many as the horizon has.
    reading, peak
        float64 [N, 16]: the alert's reading at the hour, and the largest that followed within the horizon (for regime
        changes, `State.unrest` now and the change of ln volatility over the horizon, on the same scale).
    regime
        int64 [N]: the regime at the hour.
    """

    happened: npt.NDArray[np.bool_]
    already: npt.NDArray[np.bool_]
    persisted: npt.NDArray[np.bool_]
    reading: Floats
    peak: Floats
    regime: npt.NDArray[np.int64]


def outcomes(prices: Windows, at: npt.NDArray[np.int64]) -> Outcomes:
    """Return what followed some hours of a history.

    Parameters
    ----------
    prices
        float [hours, assets] without a break in the hours, NaN where a close is missing.
    at
        int64 [N], positions from 167 to 48 before the end.

    Raises
    ------
    ValueError
        If an hour lacks a week before it or 48 hours after it.
    """
    if len(at) and at.max() + LONGEST_H >= len(prices):
        raise ValueError(
            f"expected hours with {LONGEST_H} more after them, up to {len(prices) - LONGEST_H - 1}, got {at.max()}"
        )
    parts = [_outcomes(windows, prices, ends) for ends, windows in windows_of(prices, at)]
    return Outcomes(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("happened", "already", "persisted", "reading", "peak", "regime")
        )
    )


def _outcomes(windows: Windows, prices: Windows, ends: npt.NDArray[np.int64]) -> Outcomes:
    returns = returns_of(windows)
    now = state_of(returns)
    # the day up to the hour, bridged with the week before it, then the hours after it
    after = prices[ends[:, None] + np.arange(1, LONGEST_H + 1)]
    closes = bridged(np.concatenate([windows, after], axis=1))[:, -(LONGEST_H + DAY_H + 1) :]
    later = _states(np.diff(np.log(closes), axis=1), returns, now)
    readings = {
        "SPIKE_LIKELY": (now.spike, later.spike),
        "CORRELATION_BREAKDOWN": (now.breakdown, later.breakdown),
        "VOLATILITY_SPIKE_IMMINENT": (now.burst, later.burst),
    }
    shape = (len(ends), len(QUESTIONS))
    reading, peak = np.empty(shape), np.empty(shape)
    happened, already, persisted = (np.zeros(shape, bool) for _ in range(3))
    for column, (alert, horizon) in enumerate(QUESTIONS):
        if alert in readings:
            before, following = readings[alert]
            reading[:, column] = before
            peak[:, column] = np.fmax.reduce(following[:, :horizon], axis=1)
            already[:, column] = before >= 1
            happened[:, column] = peak[:, column] >= 1
        else:
            then = State(*(getattr(later, name)[:, horizon - 1] for name in ("volatility", "together", "usual")))
            reading[:, column] = now.unrest
            change = np.maximum(then.volatility, 1e-3) / np.maximum(now.volatility, 1e-3)
            peak[:, column] = State(change, then.together, then.usual).unrest
            happened[:, column] = then.regime != now.regime
            day = returns.scaled[:, -DAY_H - horizon : -horizon]
            earlier = State(np.sqrt((day**2).mean(axis=(1, 2))), comovement(day), now.usual)
            persisted[:, column] = earlier.regime != now.regime
    return Outcomes(happened, already, persisted | already, reading, peak, now.regime)


def _states(hourly: Floats, returns: Returns, now: State) -> State:
    """Return the states of the hours after windows, on the windows' own scales; arrays are [windows, 48]."""
    z = hourly / np.where(returns.scale > 0, returns.scale, 1.0)[:, None, :]  # (windows, 72, assets)
    alone = _day_sums((z**2).sum(axis=2))
    together = _day_sums(z.sum(axis=2) ** 2)
    assets = z.shape[2]
    usual = np.broadcast_to(now.usual[:, None], alone.shape)
    return State(np.sqrt(alone / (DAY_H * assets)), ratio(together - alone, (assets - 1) * alone), usual)


def _day_sums(hourly: Floats) -> Floats:
    """Return sums over the 24 h up to each hour, from the 25th on: [windows, 72] to [windows, 48]."""
    view = np.lib.stride_tricks.sliding_window_view(hourly[:, 1:], DAY_H, axis=1)
    sums: Floats = view.sum(axis=2)
    return sums
