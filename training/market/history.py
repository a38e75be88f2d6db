"""A history of hourly prices with what was known beside them, hour by hour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.market.checks import MEASURES, find_impossible
from models.market.features import CONTEXT, windows_of
from models.market.targets import LONGEST_H
from models.market.windows import LARGE, LEAST_ASSETS, LOOKBACK_H

_GAPS = np.isin(MEASURES, ("missing_h", "age_h"))


@dataclass(frozen=True)
class History:
    """Hours without a break, oldest first.

    Attributes
    ----------
    times
        datetime64[h] [hours], UTC: when each close was known, which is the end of its candle.
    assets
        Their names, Bitcoin and Ether first.
    prices
        float64 [hours, assets]; NaN where there was no candle.
    context
        float64 [hours, 4] in the order of `features.CONTEXT`: what was known at each time; NaN where nothing was.
    """

    times: npt.NDArray[np.datetime64]
    assets: tuple[str, ...]
    prices: npt.NDArray[np.float64]
    context: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.assets[: len(LARGE)] != LARGE or len(self.assets) < LEAST_ASSETS:
            raise ValueError(f"expected {', '.join(LARGE)} and at least one more asset, got {', '.join(self.assets)}")
        if self.context.shape != (len(self.times), len(CONTEXT)) or self.prices.shape[0] != len(self.times):
            raise ValueError(f"expected {len(self.times)} hours of prices and context, got {self.prices.shape}")
        if (np.diff(self.times) != np.timedelta64(1, "h")).any():
            raise ValueError("expected one row an hour without a break; put NaN where there was no candle")

    def __len__(self) -> int:
        """Return the number of hours."""
        return len(self.times)

    def part(self, hours: slice) -> History:
        """Return some consecutive hours."""
        return replace(self, times=self.times[hours], prices=self.prices[hours], context=self.context[hours])

    def hours(self, stride: int = 1) -> npt.NDArray[np.int64]:
        """Return the positions that can be learned from: a sound week up to them, and 48 h after them.

        Parameters
        ----------
        stride
            Take every Nth hour: neighbours share nearly all of their windows and tell little news.
        """
        at, impossible = self._look(stride)
        return at[~impossible.any(axis=1)]

    def left_out(self, stride: int = 1) -> str:
        """Say why hours that have a week before them and 48 h after them are not learned from; empty where all are."""
        at, impossible = self._look(stride)
        counts = {name: int(found) for name, found in zip(MEASURES, impossible.sum(axis=0), strict=True) if found}
        reasons = ", ".join(f"{name} {count}" for name, count in counts.items())
        share = f"{impossible.any(axis=1).sum()} of {len(at)} hours are not learned from"
        return f"{share}: beyond what is possible of an asset were {reasons}" if counts else ""

    def _look(self, stride: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the hours with a week before them and 48 h after them, and what is impossible about these."""
        at = np.arange(LOOKBACK_H - 1, len(self) - LONGEST_H, stride, dtype=np.int64)
        failed = [find_impossible(windows) for _, windows in windows_of(self.prices, at)]
        # what follows may have gaps, which are bridged, and nothing else that is impossible
        after = [find_impossible(windows) & ~_GAPS for _, windows in windows_of(self.prices, at + LONGEST_H)]
        empty = np.zeros((0, len(MEASURES)), bool)
        return at, np.concatenate([empty, *failed]) | np.concatenate([empty, *after])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything by name, for a manifest."""
        return {
            "times": self.times.astype("datetime64[h]").astype(np.int64),
            "assets": np.array(self.assets),
            "prices": self.prices,
            "context": self.context,
        }
