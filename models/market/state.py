"""Where the market stands, in the terms the alerts are defined in: readings, regimes, and who is involved.

Three numbers say it all, each from the window alone. ``volatility``: root mean square of the scaled returns of the last
24 h, 1 being the week's own. ``together``: co-movement of the last 24 h. ``usual``: co-movement of the whole week. A
*reading* puts them on one scale per alert: 0 is the week's own level, 1 is where the alert's state begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.market.windows import DAY, LEAST_USUAL, WEEK, Floats, Returns

VOLATILITY_SPIKE: Final = 1.5
"""A volatility spike: 24 h at least this many times as volatile as the week before."""

SPIKE_SHARE: Final = 0.4
"""A correlation spike: co-movement has made this share of the way from the week's level to 1."""

BREAKDOWN_SHARE: Final = 1 / 3
"""A correlation breakdown: co-movement has lost this share of the week's level."""

CALM: Final = 0.6
"""Regimes: 24 h less than this many times as volatile as the week are calm; from a spike's volatility on, turbulent."""

REGIMES: Final = ("calm", "ordinary", "stressed", "dispersed")
"""Turbulent is ``stressed`` where assets move together as much as in the week or more, ``dispersed`` where less."""


@dataclass(frozen=True)
class State:
    """The market at the ends of windows, or at hours after them on the same scales; float64 arrays of one shape."""

    volatility: Floats
    together: Floats
    usual: Floats

    @property
    def spike(self) -> Floats:
        """Reading of a correlation spike."""
        return (self.together - self.usual) / (SPIKE_SHARE * np.maximum(1 - self.usual, LEAST_USUAL))

    @property
    def breakdown(self) -> Floats:
        """Reading of a correlation breakdown."""
        return (self.usual - self.together) / (BREAKDOWN_SHARE * np.maximum(self.usual, LEAST_USUAL))

    @property
    def burst(self) -> Floats:
        """Reading of a volatility spike."""
        return (self.volatility - 1) / (VOLATILITY_SPIKE - 1)

    @property
    def readings(self) -> Floats:
        """Readings of all alerts, [..., 4] in the order of `alerts.ALERTS`; of regime changes, `unrest`."""
        return np.stack([self.spike, self.unrest, self.breakdown, self.burst], axis=-1)

    @property
    def regime(self) -> npt.NDArray[np.int64]:
        """Position in `REGIMES`."""
        turbulent = np.where(self.together >= self.usual, REGIMES.index("stressed"), REGIMES.index("dispersed"))
        regimes: npt.NDArray[np.int64] = np.where(
            self.volatility < CALM, REGIMES.index("calm"), np.where(self.volatility < VOLATILITY_SPIKE, 1, turbulent)
        )
        return regimes

    @property
    def unrest(self) -> Floats:
        """How far volatility is from the week's, up or down, on a scale on which 1 is where a spike begins."""
        unrest: Floats = np.abs(np.log(np.maximum(self.volatility, 1e-3))) / np.log(VOLATILITY_SPIKE)
        return unrest


def state_of(returns: Returns) -> State:
    """Return the state of the market at the end of each window; arrays are [windows]."""
    tied, volatility = returns.spans
    return State(volatility[:, DAY], tied[:, DAY], tied[:, WEEK])


def involvement(returns: Returns) -> tuple[Floats, Floats]:
    """Return who moves, and who moves with the others.

    Returns
    -------
    moving, tied : ndarray
        float64 [windows, assets]: each asset's share of the squared scaled returns of the last 24 h; and the
        correlation of its returns in these hours with the sum of the others'.
    """
    day = returns.scaled[:, -24:]
    others = day.sum(axis=2, keepdims=True) - day
    squares, squares_of_others = (day**2).sum(axis=1), (others**2).sum(axis=1)
    moving = squares / np.maximum(squares.sum(axis=1, keepdims=True), 1e-300)
    tied = (day * others).sum(axis=1) / np.sqrt(np.maximum(squares * squares_of_others, 1e-300))
    return moving, tied
