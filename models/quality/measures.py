"""The measures, each from sums, so that what training computes of arrays and monitoring of counts is one thing.

All broadcast over arrays. Where a measure is of nothing it is NaN, unless its text says otherwise.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAST_EUROS: Final = 20.0
"""Amounts of less are left out of percentage errors, which they would make meaningless."""

HALF_A_CENT: Final = 0.005
"""Amounts are rounded to the cent: so much beyond an interval is within it."""


def ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """Return parts of wholes; NaN of nothing."""
    of = np.asarray(whole, np.float64)
    found: Floats = np.divide(part, of, out=np.full(np.broadcast(part, of).shape, np.nan), where=of != 0)
    return found


def precision(hits: npt.ArrayLike, said: npt.ArrayLike) -> Floats:
    """Return the share of what was reported that is true."""
    return ratio(hits, said)


def recall(hits: npt.ArrayLike, true: npt.ArrayLike) -> Floats:
    """Return the share of what is true that was reported."""
    return ratio(hits, true)


def f1(hits: npt.ArrayLike, said: npt.ArrayLike, true: npt.ArrayLike) -> Floats:
    """Return the harmonic mean of precision and recall (van Rijsbergen, 1979); 0 where nothing is true or reported."""
    both = np.add(said, true, dtype=np.float64)
    found: Floats = 2 * np.asarray(hits, np.float64) / np.maximum(both, 1.0)
    return found


def f1_of_overlap(share: npt.ArrayLike) -> Floats:
    """Return the F1 of a share: of all that was reported or true, how much was both (Jaccard, 1901)."""
    both = np.asarray(share, np.float64)
    found: Floats = 2 * both / (1 + both)
    return found


def false_positive_rate(hits: npt.ArrayLike, said: npt.ArrayLike, true: npt.ArrayLike, of: npt.ArrayLike) -> Floats:
    """Return the share of what is not true that was reported."""
    return ratio(np.subtract(said, hits), np.subtract(of, true))


def macro_f1(hits: npt.ArrayLike, said: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """Return the mean F1 of the classes that occur, each counting once; arrays are ``[C]``."""
    occurs = np.asarray(true) > 0
    return float(f1(hits, said, true)[occurs].mean()) if occurs.any() else float("nan")


def weighted_f1(hits: npt.ArrayLike, said: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """Return the mean F1 of the classes, each counting as often as it occurs; arrays are ``[C]``."""
    weights = np.asarray(true, np.float64)
    return float(np.average(f1(hits, said, true), weights=weights)) if weights.any() else float("nan")


def wape(truth: npt.NDArray[Any], forecast: npt.NDArray[Any]) -> float:
    """Return the sum of the errors' sizes as a share of the sum of what was forecast."""
    return wape_of(float(np.abs(forecast - truth).sum()), float(np.abs(truth).sum()))


def wape_of(error: float, size: float) -> float:
    """Return the same of these two sums."""
    return error / max(size, 1e-9)


def mape(truth: npt.NDArray[Any], forecast: npt.NDArray[Any], least: float = LEAST_EUROS) -> float:
    """Return the mean of the errors' sizes as shares of each truth of at least that many euros."""
    counted = np.abs(truth) >= least
    return float((np.abs(forecast - truth)[counted] / np.abs(truth[counted])).mean()) if counted.any() else float("nan")


def covers(truth: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return which truths are within their intervals, the ends included to the cent."""
    value = np.asarray(truth, np.float64)
    found: npt.NDArray[np.bool_] = (value >= np.asarray(low) - HALF_A_CENT) & (value <= np.asarray(high) + HALF_A_CENT)
    return found


def rmse(truth: npt.ArrayLike, answers: npt.ArrayLike) -> float:
    """Return the root mean square error."""
    return float(np.sqrt(np.mean((np.asarray(truth, np.float64) - np.asarray(answers, np.float64)) ** 2)))
