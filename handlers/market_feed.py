"""The feed behind a market's request: what closes cannot be is refused, who lacks closes is left out and named.

`models.market.checks` measures; here the contract's ranges judge, and words are found for what they find. All windows
of a request are measured at once, and looked at one by one only where something is out of the usual.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archives.contract import Contract
from handlers.errors import InvalidError
from handlers.validation import Unusual
from models.market.checks import MEASURES, MISSING, POSSIBLE, measure, twins
from models.market.windows import LARGE, LEAST_ASSETS, LOOKBACK_H, bridged
from models.ranges import Bounds

ENOUGH: Final = f"{LEAST_ASSETS} assets, {' and '.join(LARGE)} among them"

_TWICE = "are hours given twice, or filled forward?"
_PHRASES: Final = {
    "missing_h": ("missing closes", "is the asset still traded, and the feed whole?"),
    "age_h": ("hours without a close at the end", "is the asset delisted, or its last close not there yet?"),
    "still_h": ("hours in a row at one close", "has the feed stopped, or been filled forward?"),
    "unmoved_h": ("hours at the close of the hour before", _TWICE),
    "market_unmoved_h": ("hours in which no asset moves", _TWICE),
    "repeated_h": ("hours whose last six closes are six earlier ones", "is an old part of the feed sent again?"),
    "largest_move": ("as the factor from one close to the next", "is a decimal point lost, or the unit another?"),
    "typical_move": ("as the median move within an hour", "are these volumes or returns rather than closes?"),
    "rising_share": ("as the share of moves that are gains", "is this a counter or a running sum rather than closes?"),
    "twin_correlation": ("as the correlation with another asset in one day", "is one series sent under two names?"),
}
"""Of each measure, what is counted, and the likely mistake behind too much of it."""

_MISSING = np.array([name in MISSING for name in MEASURES])
_OF_ONE = np.array([name != "market_unmoved_h" for name in MEASURES])
"""Measures of an asset by itself."""

_ALONE = _OF_ONE & ~_MISSING & np.array([name != "twin_correlation" for name in MEASURES])
"""What of Bitcoin and Ether is refused whatever the other assets are."""


class Feed:
    """Holds windows of closes to what a contract says is possible and usual.

    Parameters
    ----------
    contract
        Where it has no ranges, only gaps are looked for.
    learned
        The assets the model learned from; none where that is not known.
    """

    def __init__(self, contract: Contract, learned: Sequence[str]) -> None:
        gaps = {name: POSSIBLE[name] for name in ("missing_h", "age_h")}
        self._possible = Bounds.read({**gaps, **contract.possible}, MEASURES)
        self._usual = Bounds.read(contract.usual, MEASURES)
        self._learned = frozenset(learned)

    def find_suspects(self, assets: Sequence[Sequence[str]], windows: NDArray[np.float64]) -> list[int]:
        """Return the positions of windows that are out of the usual, or of assets that were not learned from.

        Parameters
        ----------
        assets
            Names of the assets of each window.
        windows
            float64 [windows, 168, assets].
        """
        measures = measure(windows)
        odd = frozenset(np.nonzero(self._possible.outside(measures) | self._usual.outside(measures))[0].tolist())
        return [k for k, names in enumerate(assets) if k in odd or self._find_strange(names)]

    def settle(self, assets: Sequence[str], window: NDArray[np.float64], sent: int) -> tuple[list[int], list[Unusual]]:
        """Decide which assets of one window to answer from.

        Parameters
        ----------
        assets
            Their names, Bitcoin and Ether first.
        window
            float64 [168, assets].
        sent
            How many closes of each were sent.

        Returns
        -------
        kept, unusual
            Positions of the assets to answer from, and what the caller should know.

        Raises
        ------
        InvalidError
            If something is impossible, or too few assets are left.
        """
        measures = measure(window[None])[0]  # (assets, measures)
        # Bitcoin and Ether are needed, and so what their closes cannot be is refused; another asset is left out.
        minor = np.arange(len(assets))[:, None] >= len(LARGE)
        missing = self._possible.outside(measures) & (_MISSING | (minor & _OF_ONE))
        out = {int(k): self._tell(measures[k], int(missing[k].argmax()), self._possible) for k in _rows(missing)}
        kept = [k for k in range(len(assets)) if k not in out]
        large = len(LARGE)
        self._refuse(assets[:large], np.where(_ALONE, measures[:large], np.nan), window[:, :large], sent)
        if out and (len(kept) < LEAST_ASSETS or min(out) < len(LARGE)):
            first = min(out)
            place = _place(assets[first], window[:, first], sent, MEASURES[int(missing[first].argmax())])
            expected, came = out[first]
            raise InvalidError(place, f"{expected} ({ENOUGH}, are needed)", came)
        strange = self._find_strange(assets)
        if strange and len(known := [k for k in kept if assets[k] not in strange]) >= LEAST_ASSETS:
            kept = known
        measures = measure(window[:, kept][None])[0]
        self._refuse([assets[k] for k in kept], measures, window[:, kept], sent)
        unusual = [
            Unusual(f"prices.{assets[k]}", f"left out: expected {expected}, got {came}")
            for k, (expected, came) in out.items()
        ]
        for used, done in ((False, "left out"), (True, "used, because too few others are there")):
            names = [name for k, name in enumerate(assets) if name in strange and k not in out and (k in kept) is used]
            if names:
                said = f"not among the assets the model learned from, and {done}: {', '.join(names)}"
                unusual.append(Unusual("prices", said))
        odd = self._usual.outside(measures)
        odd[1:, MEASURES.index("market_unmoved_h")] = False  # the same of all assets
        for column in np.flatnonzero(odd.any(axis=0)).tolist():
            first, *others = (kept[row] for row in np.flatnonzero(odd[:, column]).tolist())
            expected, came = self._tell(measures[kept.index(first)], column, self._usual)
            place = _place(assets[first], window[:, first], sent, MEASURES[column])
            also = f"; so {', '.join(assets[k] for k in others)}" if others else ""
            unusual.append(Unusual(place, f"unusual: {expected} in what the model learned from, got {came}{also}"))
        return kept, unusual

    def _refuse(
        self, assets: Sequence[str], measures: NDArray[np.float64], window: NDArray[np.float64], sent: int
    ) -> None:
        """Refuse what no asset's closes can be."""
        impossible = self._possible.outside(measures)
        if not impossible.any():
            return
        row, column = np.argwhere(impossible)[0].tolist()
        name = MEASURES[column]
        expected, came = self._tell(measures[row], column, self._possible)
        if name == "twin_correlation":
            row = int(np.flatnonzero(impossible[:, column])[-1])  # of twins, the one that is needed less
            twin = int(twins(np.diff(np.log(bridged(window[None])), axis=1))[0, row].argmax())
            came = f"the moves of {assets[twin]} ({_PHRASES[name][1]})"
        raise InvalidError(_place(assets[row], window[:, row], sent, name), expected, came)

    def _find_strange(self, assets: Sequence[str]) -> frozenset[str]:
        """Return which assets were not learned from."""
        return frozenset(assets) - self._learned if self._learned else frozenset()

    def _tell(self, measures: NDArray[np.float64], column: int, limits: Bounds) -> tuple[str, str]:
        """Return what was expected of one asset's measure, and what came."""
        name = MEASURES[column]
        what, hint = _PHRASES[name]
        low, high, value = np.array([limits.low[column], limits.high[column], measures[column]])
        if name == "largest_move":
            low, high, value = np.exp([low, high, value])
        bound = f"at most {high:.6g}" if low in (-np.inf, 0.0) else f"{low:.6g} to {high:.6g}"
        return f"{bound} {what}", f"{value:.6g} ({hint})"


def _rows(flags: NDArray[np.bool_]) -> list[int]:
    """Return the rows that have a flag."""
    found: list[int] = np.flatnonzero(flags.any(axis=1)).tolist()
    return found


def _place(asset: str, closes: NDArray[np.float64], sent: int, name: str) -> str:
    """Return where in a request a measure of an asset went wrong, as nearly as can be said."""
    if name == "market_unmoved_h":
        return "prices"
    if name == "age_h":
        return f"prices.{asset}[{sent - 1}]"
    if name == "largest_move":
        size = np.abs(np.diff(np.log(bridged(closes[None, :, None]))[0, :, 0]))
        return f"prices.{asset}[{sent - LOOKBACK_H + 1 + int(size.argmax())}]"
    return f"prices.{asset}"
