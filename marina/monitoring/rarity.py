"""How unlike the reference a whole request is, where no quantity by itself needs to be unusual: conformal p-values.

A request's place among the reference rows in each quantity, from 0 to 1, is a point; its score is the distance to the
nearest of the reference's points. Its p-value is the share of reference rows whose own score is as large, or larger
(split conformal prediction: Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005; for outliers,
Bates et al., 2023). Every second reference row makes the points, the others are scored: without drift p-values are
uniform, give or take the reference's size.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]

MOST_ROWS = 2_000
"""Reference rows that are used; of more, this many that lie evenly among them."""

NEIGHBOUR = 5
"""The distance to the nearest but so many counts: a copy of a single row proves nothing."""

AT_ONCE = 32


class Rarity:
    """Scores against one reference.

    Parameters
    ----------
    summary
        By name, the reference's numbers, float32 (rows,); NaN for what is missing.
    """

    def __init__(self, summary: Mapping[str, Floats]) -> None:
        self._names = tuple(summary)
        rows = len(next(iter(summary.values()), ()))
        chosen = np.linspace(0, rows - 1, min(rows, MOST_ROWS)).astype(int) if rows else np.empty(0, int)
        fitted = {name: values[chosen[::2]] for name, values in summary.items()}
        self._sorted = [np.sort(values[np.isfinite(values)]) for values in fitted.values()]
        self._points = self._place(fitted)
        self._scores = np.sort(self._distances(self._place({name: one[chosen[1::2]] for name, one in summary.items()})))

    def __bool__(self) -> bool:
        """Whether there are enough rows, and more than one quantity, to say anything."""
        return len(self._names) > 1 and len(self._scores) > 4 * NEIGHBOUR

    def __len__(self) -> int:
        """Return how many reference rows were scored."""
        return len(self._scores)

    def p_values(self, summary: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """Return a p-value per request, in (0, 1]; small for one that is unlike the reference."""
        scores = self._distances(self._place({name: np.asarray(summary[name], np.float32) for name in self._names}))
        as_large = len(self._scores) - np.searchsorted(self._scores, scores, side="left")
        return np.asarray((1 + as_large) / (len(self._scores) + 1))

    def _place(self, summary: Mapping[str, Floats]) -> Floats:
        """Return each row's ranks in the reference, (rows, names); a missing number is far from all others."""
        columns = []
        for values, known in zip(summary.values(), self._sorted, strict=True):
            ends = np.searchsorted(known, values, side="left"), np.searchsorted(known, values, side="right")
            rank = (ends[0] + ends[1]) / (2 * max(len(known), 1))
            columns.append(np.where(np.isfinite(values), rank, 2.0))
        return np.stack(columns, axis=1).astype(np.float32) if columns else np.empty((0, 0), np.float32)

    def _distances(self, points: Floats) -> Floats:
        """Return the distance of each point to the `NEIGHBOUR`-th nearest of the reference's."""
        if len(self._points) < NEIGHBOUR:
            return np.zeros(len(points), np.float32)
        found = [np.empty(0, np.float32)]
        for part in np.array_split(points, max(1, -(-len(points) // AT_ONCE))):
            apart = ((part[:, None] - self._points) ** 2).sum(axis=2)  # by broadcasting: BLAS would start threads
            found.append(np.partition(apart, NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1])
        return np.sqrt(np.concatenate(found))
