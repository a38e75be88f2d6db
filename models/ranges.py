"""What quantities of an instance can be, and usually are: one check for rows that are trained on and rows to answer."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Range = tuple[float | None, float | None]
"""Lowest and highest value; None is no bound."""

MISSING_SHARE: Final = "missing_share"
"""The name of a row's share of missing values among the ranges of its features."""

USUAL_PERCENT: Final = 99.9
"""Of the rows that are trained on, this many percent have what is called usual, feature by feature."""


class Bounds(NamedTuple):
    """Ranges of F features side by side: float64 [F] each, infinite where there is no bound."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def read(cls, ranges: Mapping[str, Range], names: Sequence[str]) -> "Bounds":
        """Take the features' ranges by their names; one that has none is not bounded."""
        found = [ranges.get(name, (None, None)) for name in names]
        return cls(
            np.array([-np.inf if low is None else low for low, _ in found], np.float64),
            np.array([np.inf if high is None else high for _, high in found], np.float64),
        )

    def outside(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where rows [N, F] are out of bounds, [N, F]; a missing value is not."""
        beyond: NDArray[np.bool_] = (rows < self.low) | (rows > self.high)  # NaN compares false
        return beyond

    def hold(self, rows: NDArray[Any], missing: int) -> bool:
        """Return whether rows [N, F] are all within bounds, and at most so many of their values missing, in all.

        Counting takes a fraction of the time of finding where they are not.
        """
        absent = np.count_nonzero(np.isnan(rows))
        within = np.count_nonzero((rows >= self.low) & (rows <= self.high))
        return bool(absent <= missing and within + absent == rows.size)


def missing_share(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the share of each row's values that are missing (NaN), [N, F] to [N]."""
    share: NDArray[np.float64] = np.isnan(rows).mean(axis=1)
    return share


def are_possible(rows: NDArray[Any], names: Sequence[str], possible: Mapping[str, Range]) -> NDArray[np.bool_]:
    """Tell which rows [N, F] can be: no value out of its range, and not too many missing.

    Parameters
    ----------
    rows
        NaN is missing.
    names
        Of the F features.
    possible
        By name, and `MISSING_SHARE`.
    """
    within = ~Bounds.read(possible, names).outside(rows).any(axis=1)
    enough = ~Bounds.read(possible, [MISSING_SHARE]).outside(missing_share(rows)[:, None])[:, 0]
    found: NDArray[np.bool_] = within & enough
    return found


def measure_usual(rows: NDArray[Any], names: Sequence[str]) -> dict[str, Range]:
    """Measure what is usual: between which values `USUAL_PERCENT` of the rows [N, F] lie, feature by feature.

    Returns
    -------
    dict of str to (low, high)
        By name, and `MISSING_SHARE`; a feature that no row has is left out.
    """
    beyond = (100 - USUAL_PERCENT) / 2
    usual: dict[str, Range] = {MISSING_SHARE: (0.0, float(np.percentile(missing_share(rows), USUAL_PERCENT)))}
    for name, column in zip(names, np.asarray(rows, np.float64).T, strict=True):
        if len(known := column[np.isfinite(column)]):
            low, high = np.percentile(known, (beyond, 100 - beyond), method="closest_observation").tolist()
            usual[name] = (low, high)
    return usual
