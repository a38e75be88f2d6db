"""Whether a model is as good for some as for others: its accuracy on each slice of the data, beside the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.quality.intervals import upper_bound

PEOPLE = ("signer", "user")
"""Groups that are single people: an archive counts those that are worse off, and does not name them."""

LEAST = 20
"""Rows of the smallest group that is compared: the interval of fewer says nothing."""

Z95 = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Slice:
    """One group of rows: its share of right answers, with a 95 % interval."""

    by: str
    group: str
    count: int
    right: float
    low: float
    high: float


@dataclass(frozen=True)
class SliceReport:
    """Every slice, and the share of right answers on the whole."""

    right: float
    slices: tuple[Slice, ...]

    @property
    def worse(self) -> tuple[Slice, ...]:
        """The slices whose whole interval is below the whole's share: worse than chance explains."""
        return tuple(one for one in self.slices if one.high < self.right)

    def summary(self) -> dict[str, Any]:
        """Return what an archive says of it: how many groups were compared, and those that are worse, by name."""
        named = [asdict(one) for one in self.worse if one.by not in PEOPLE]
        return {
            "right": self.right,
            "compared": len(self.slices),
            "least": LEAST,
            "worse": named,
            "worse_people": len(self.worse) - len(named),
        }

    def markdown(self) -> str:
        """Return the report as a table, those that are worse in bold."""
        lines = [
            f"whole: {self.right:.3f}",
            "",
            "| by | group | rows | right | 95 % interval |",
            "|---|---|---|---|---|",
        ]
        for one in self.slices:
            mark = "**" if one.high < self.right else ""
            numbers = f"{one.count} | {one.right:.3f} | {one.low:.3f} to {one.high:.3f}"
            lines.append(f"| {one.by} | {mark}{one.group}{mark} | {numbers} |")
        return "\n".join(lines)


def slice_report(right: npt.NDArray[Any], by: Mapping[str, npt.NDArray[Any]]) -> SliceReport:
    """Compare slices of the rows that have at least `LEAST`.

    Parameters
    ----------
    right
        [N], 1 where the model was right, 0 where it was not (or any share between).
    by
        For each way to slice, the group of each row, [N].

    Returns
    -------
    SliceReport
        Intervals are Wilson's (1927).
    """
    slices = []
    for name, groups in by.items():
        for group in np.unique(groups):
            mine = right[groups == group]
            if len(mine) >= LEAST:
                slices.append(
                    Slice(name, str(group), len(mine), float(mine.mean()), *wilson(float(mine.mean()), len(mine)))
                )
    return SliceReport(float(right.mean()), tuple(slices))


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson, 1927).

    Examples
    --------
    >>> low, high = wilson(0.5, 100)
    >>> round(low, 3), round(high, 3)
    (0.404, 0.596)
    """
    low, high = 1 - float(upper_bound(1 - share, count, Z95)), float(upper_bound(share, count, Z95))
    return max(0.0, low), min(1.0, high)
