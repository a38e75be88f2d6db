"""The sixteen questions: four alerts, each at four horizons, and from which probability on an answer is severe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

ALERTS: Final = ("SPIKE_LIKELY", "REGIME_CHANGE_PENDING", "CORRELATION_BREAKDOWN", "VOLATILITY_SPIKE_IMMINENT")
HORIZONS_H: Final = (4, 12, 24, 48)
"""How far ahead each alert looks, in hours."""

QUESTIONS: Final = tuple((alert, horizon) for alert in ALERTS for horizon in HORIZONS_H)
LABELS: Final = tuple(f"{alert}@{horizon}h" for alert, horizon in QUESTIONS)
"""Names of the questions, in the order of every axis of 16."""

NESTED: Final = tuple(
    tuple(k for k, (mine, _) in enumerate(QUESTIONS) if mine == alert)
    for alert in ALERTS
    if alert != "REGIME_CHANGE_PENDING"
)
"""Positions of the questions whose events are nested: what happens within 4 h happens within 12. A regime may change
and change back, so that of regimes a longer horizon may be less probable."""

SEVERITIES: Final = (None, "S2", "S3")
SEVERE: Final = {
    "SPIKE_LIKELY": (0.70, 0.85),
    "REGIME_CHANGE_PENDING": (0.65, 0.80),
    "CORRELATION_BREAKDOWN": (0.75, 0.90),
    "VOLATILITY_SPIKE_IMMINENT": (0.80, 0.95),
}
"""Per alert, the probabilities from which an answer is S2 and S3."""

THRESHOLDS: Final = {
    f"{alert}.{name}": bound
    for alert, bounds in SEVERE.items()
    for name, bound in zip(SEVERITIES[1:], bounds, strict=True)
}
"""The same by name, as a contract states them."""


def bounds_of(thresholds: Mapping[str, float] = THRESHOLDS) -> npt.NDArray[np.float64]:
    """Return the probabilities from which each answer is S2 and S3, float64 [2, 16].

    Parameters
    ----------
    thresholds
        Bounds under the names of `THRESHOLDS`.
    """
    return np.array([[thresholds[f"{alert}.{name}"] for alert, _ in QUESTIONS] for name in SEVERITIES[1:]])


def severities(probabilities: npt.NDArray[Any], bounds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return how severe each answer is, as positions in `SEVERITIES`.

    Parameters
    ----------
    probabilities
        float [N, 16].
    bounds
        As `bounds_of` gives them.
    """
    levels: npt.NDArray[np.int64] = (probabilities >= bounds[0]).astype(np.int64) + (probabilities >= bounds[1])
    return levels
