"""The budget family: from what was trained to what its archive is made of."""

from __future__ import annotations

from typing import Any

from training.budget.anomaly import recipe as anomaly
from training.budget.anomaly import release as anomaly_release
from training.budget.categorizer import recipe as categorizer
from training.budget.categorizer import release as categorizer_release
from training.budget.forecast import recipe as forecast
from training.budget.forecast import release as forecast_release
from training.packaging.archive import Release


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
    if isinstance(trained, categorizer.Trained):
        return categorizer_release.release(trained, version)
    if isinstance(trained, anomaly.Trained):
        return anomaly_release.release(trained, version)
    if isinstance(trained, forecast.Trained):
        return forecast_release.release(trained, version)
    raise TypeError(f"expected what a budget model's training gives, got {type(trained).__name__}")
