"""Whether probabilities mean what they say: the reliability diagram's bins, and the expected calibration error.

Bins hold equally many rows, not equally wide ranges: of a rare event nearly all rows are in the first of equally wide
ones (Nguyen & O'Connor, 2015; Nixon et al., 2019). Rows of one probability are never parted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15

Predicted = npt.NDArray[np.floating[Any]]
Happened = npt.NDArray[Any]


@dataclass(frozen=True)
class Reliability:
    """Bins of rows by the predicted probability, at most `BINS`, the least first; each float64 or int64 [bins].

    Attributes
    ----------
    predicted, observed
        Mean probability, and share of rows of which it came true.
    counts
        Rows.
    """

    predicted: npt.NDArray[np.float64]
    observed: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]

    @property
    def error(self) -> float:
        """The expected calibration error (Guo et al., 2017): the mean gap of both, weighted by rows."""
        return float((np.abs(self.predicted - self.observed) * self.counts).sum() / self.counts.sum())


def measure_reliability(predicted: Predicted, happened: Happened) -> Reliability:
    """Compare probabilities with what came true.

    Parameters
    ----------
    predicted
        [N]: of an event, or of a classifier's first choice (`first_choice`).
    happened
        bool or 0 and 1, [N].

    Raises
    ------
    ValueError
        If there is nothing to compare.
    """
    if not len(predicted):
        raise ValueError("expected at least one probability to compare with what came true, got none")
    predicted = np.asarray(predicted, np.float64)
    ordered = np.sort(predicted)
    edges = np.unique(ordered[np.arange(1, BINS) * len(ordered) // BINS])
    bin_of = np.searchsorted(edges, predicted, side="right")
    counts = np.bincount(bin_of, minlength=len(edges) + 1)
    sums = [np.bincount(bin_of, np.asarray(one, np.float64), len(edges) + 1) for one in (predicted, happened)]
    kept = counts > 0
    return Reliability(sums[0][kept] / counts[kept], sums[1][kept] / counts[kept], counts[kept])


def calibration_error(predicted: Predicted, happened: Happened) -> float:
    """Return the expected calibration error; arguments as for `measure_reliability`.

    Examples
    --------
    >>> import numpy as np
    >>> calibration_error(np.array([1.0, 1.0]), np.array([True, False]))
    0.5
    """
    return measure_reliability(predicted, happened).error


def first_choice(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.int64]
) -> tuple[Predicted, npt.NDArray[np.bool_]]:
    """Return how sure a classifier is of its first choice, [N], and whether that is right, bool [N].

    Parameters
    ----------
    probabilities
        [N, classes].
    labels
        int64 [N].
    """
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
