"""The budget family: from what was trained to what its archive is made of."""

from __future__ import annotations

from typing import Any

from training import budget_anomaly, budget_categorizer, budget_categorizer_archive, budget_forecast
from training.archive import Release


def release(trained: Any, version: str) -> Release:
    """Return the release of any of the family's models.

    Parameters
    ----------
    trained
        What the model's own module gave.
    version
        Such as ``1.0``.

    Raises
    ------
    TypeError
        If it is none of the family's.
    """
    if isinstance(trained, budget_categorizer.Trained):
        return budget_categorizer_archive.release(trained, version)
    if isinstance(trained, budget_anomaly.Trained):
        return budget_anomaly.release(trained, version)
    if isinstance(trained, budget_forecast.Trained):
        return budget_forecast.release(trained, version)
    raise TypeError(f"expected what a budget model's training gives, got {type(trained).__name__}")
