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


def severities(probabilities: npt.NDArray[Any], thresholds: Mapping[str, float] | None = None) -> npt.NDArray[np.int64]:
    """Return how severe each answer is, as positions in `SEVERITIES`.

    Parameters
    ----------
    probabilities
        float [N, 16].
    thresholds
        Other bounds than `THRESHOLDS`, under the same names.
    """
    bounds = thresholds or THRESHOLDS
    second, third = (np.array([bounds[f"{alert}.{name}"] for alert, _ in QUESTIONS]) for name in SEVERITIES[1:])
    levels: npt.NDArray[np.int64] = (probabilities >= second).astype(np.int64) + (probabilities >= third)
    return levels
