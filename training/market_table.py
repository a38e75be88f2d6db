"""A market's history as a table to learn from: features of some of its hours, and what followed them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.market.alerts import QUESTIONS
from models.market.features import rolling
from models.market.targets import Outcomes, outcomes
from training.data.market_history import History

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
