"""A market's history as a table to learn from: features of some of its hours, and what followed them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.market.alerts import QUESTIONS
from models.market.checks import MEASURES, measure
from models.market.features import CONTEXT, rolling, windows_of
from models.market.targets import Outcomes, outcomes
from training.market.history import History

Features = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """A history as rows to learn from, N of them, in order of time."""

    times: npt.NDArray[np.datetime64]
    features: Features
    outcomes: Outcomes


def tabulate(history: History, stride: int) -> Table:
    """Return one row for one in `stride` hours of a history."""
    at = history.hours(stride)
    return Table(history.times[at], rolling(history.prices, at, history.context), outcomes(history.prices, at))


def expected_peaks(found: Outcomes) -> Floats:
    """Return per question how the largest reading within an event follows from the reading now.

    Returns
    -------
    ndarray
        float64 [16, 2]: mean and slope of a least-squares line through the events; a flat one where there are few.
    """
    lines = np.tile([1.0, 0.0], (len(QUESTIONS), 1))
    for question in range(len(QUESTIONS)):
        reading, peak = found.reading[:, question], found.peak[:, question]
        events = found.happened[:, question] & np.isfinite(reading) & np.isfinite(peak)
        if events.sum() >= 20:
            slope, constant = np.polyfit(reading[events], peak[events], 1)
            lines[question] = constant, slope
    return lines


def find_extremes(history: History, at: npt.NDArray[np.int64]) -> dict[str, tuple[float, float]]:
    """Return the least and the most of every measure of an asset's closes, and of what was known beside them.

    Parameters
    ----------
    history
        A market.
    at
        int64 [N], the hours learned from.

    Returns
    -------
    dict
        By name, of `checks.MEASURES` and `features.CONTEXT`; without what was never known.
    """
    measured = [measure(windows) for _, windows in windows_of(history.prices, at)]
    low, high = (
        np.concatenate(
            [
                function.reduce([function.reduce(part, axis=(0, 1)) for part in measured]),
                function.reduce(history.context[at]),
            ]
        )
        for function in (np.fmin, np.fmax)
    )
    return {
        name: (float(low[k]), float(high[k])) for k, name in enumerate((*MEASURES, *CONTEXT)) if np.isfinite(low[k])
    }
