"""How good a detector is, in the terms of who reads its alerts: false positives, and what they buy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from training.budget.anomaly.rows import Table
from training.evaluation.reliability import calibration_error

Floats = npt.NDArray[np.float64]


def metrics_of(score: Floats, table: Table, thresholds: Mapping[str, float]) -> dict[str, float]:
    """Return what a score amounts to.

    Parameters
    ----------
    score
        float64 [N], a probability.
    table
        The judged rows.
    thresholds
        By verdict; a transaction has the verdict from its threshold on.

    Returns
    -------
    dict of str to float
        ``auc``, ``average_precision`` and ``calibration_error``, and per verdict the
        share of usual transactions (``false_positives``), of anomalies (``recall``, also by kind), and of reported ones
        that are anomalies (``precision``).
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    odd = table.odd
    found = {
        "auc": float(roc_auc_score(odd, score)),
        "average_precision": float(average_precision_score(odd, score)),
        "calibration_error": calibration_error(score, odd),
    }
    for verdict, threshold in thresholds.items():
        reported = score >= threshold
        found[f"{verdict}.false_positives"] = float(reported[~odd].mean())
        found[f"{verdict}.precision"] = float(odd[reported].mean()) if reported.any() else float("nan")
        found[f"{verdict}.recall"] = float(reported[odd].mean())
        for kind in np.unique(table.kinds[odd]).tolist():
            found[f"{verdict}.recall.{kind}"] = float(reported[table.kinds == kind].mean())
    return found


def recall_at(score: Floats, odd: npt.NDArray[np.bool_], false_positives: float) -> float:
    """Return the share of anomalies that score above all but a share of the usual transactions."""
    return float((score[odd] > np.quantile(score[~odd], 1 - false_positives)).mean())


def threshold_for(score: Floats, odd: npt.NDArray[np.bool_], false_positives: float) -> float:
    """Return a threshold that about a share of the usual transactions reach.

    It lies in the middle of the widest gap among the scores next to it, so that what is off by a rounding error is not
    decided otherwise.
    """
    ordered = np.unique(score)
    usual = np.sort(score[~odd])
    wanted = usual[min(len(usual) - 1, int(np.ceil((1 - false_positives) * len(usual))))]
    at = int(np.searchsorted(ordered, wanted))
    near = ordered[max(0, at - 5) : at + 6]
    widest = int(np.diff(near).argmax())
    return float((near[widest] + near[widest + 1]) / 2)
