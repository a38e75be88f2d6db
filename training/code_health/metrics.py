"""How good answers about code are: the numbers that training logs and that the comparison on recorded data shows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models.code_health.features import NAMES
from models.quality.measures import rmse
from training.code_health.estimators import Answers
from training.code_health.rows import Rows
from training.evaluation.reliability import calibration_error
from training.evaluation.slices import SliceReport, slice_report

Truth = npt.NDArray[np.float32]

YOUNG_DAYS, OLD_DAYS = 90, 365
"""Where the slices by age part."""


MOST_ALARMS = 3
"""Rows that may be called true for each that is, when a threshold is chosen by F1."""


def auc(truth: npt.NDArray[np.generic], answers: Answers) -> float:
    """Return the area under the ROC curve; 0.5 where there is one class only."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, answers)) if len(np.unique(truth)) == 2 else 0.5


def classified(truth: Truth, answers: Answers, threshold: float) -> dict[str, float]:
    """Score answers to a question of yes (1) or no (0).

    Parameters
    ----------
    truth
        [N], 0 or 1.
    answers
        [N], higher is more likely.
    threshold
        From where on the answer is yes.

    Returns
    -------
    dict of float
        ``auc``, average precision ``ap``, ``accuracy`` beside that of always answering the usual (``majority``),
        ``precision``, ``recall``, ``f1``, Brier score ``brier``, ``calibration_error`` (neither of which means anything
        of a score that is no probability) and the share of yes, ``rate``.
    """
    from sklearn.metrics import average_precision_score

    said = answers >= threshold
    yes = truth == 1
    hits = float(np.count_nonzero(said & yes))
    precision = hits / max(1, int(np.count_nonzero(said)))
    recall = hits / max(1, int(np.count_nonzero(yes)))
    rate = float(yes.mean())
    return {
        "auc": auc(truth, answers),
        "ap": float(average_precision_score(truth, answers)) if yes.any() else 0.0,
        "accuracy": float((said == yes).mean()),
        "majority": max(rate, 1 - rate),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(precision + recall, 1e-12),
        "brier": float(np.mean((answers - truth) ** 2)),
        "calibration_error": calibration_error(answers, truth == 1),
        "rate": rate,
    }


def regressed(truth: Truth, answers: Answers, usual: float) -> dict[str, float]:
    """Score values: root mean square error beside that of always answering the usual one, and the rank correlation."""
    from scipy.stats import spearmanr

    ranks = spearmanr(truth, answers).statistic if np.ptp(truth) and np.ptp(answers) else 0.0
    return {
        "rmse": rmse(truth, answers),
        "mae": float(np.mean(np.abs(truth - answers))),
        "rmse_of_mean": rmse(truth, np.full(len(truth), usual)),
        "rank_correlation": float(ranks),
    }


def best_threshold(truth: Truth, answers: Answers, by: str) -> float:
    """Choose where to say yes.

    Parameters
    ----------
    truth, answers
        Of rows that were not fitted to.
    by
        "f1" or "accuracy": what is to be largest. Few true ones make F1 largest by chance where almost everything is
        called true: at most `MOST_ALARMS` rows are called true for each that is.

    Returns
    -------
    float
        A float32 half-way between two answers that were given, so that no usual answer is equal to it.
    """
    seen = np.unique(answers)
    if len(seen) < 2:
        return float(seen[0])
    cuts = (seen[:-1] + seen[1:]) / 2
    cuts = cuts[np.unique(np.linspace(0, len(cuts) - 1, 300).astype(np.int64))]
    order = np.sort(answers[truth == 1]), np.sort(answers[truth == 0])
    hits, alarms = (len(one) - np.searchsorted(one, cuts) for one in order)
    f1 = 2 * hits / np.maximum(1, hits + alarms + len(order[0]))
    # where no cut is allowed, the highest one is the least bad
    f1 = np.where(hits + alarms <= MOST_ALARMS * len(order[0]), f1, -1 / cuts.clip(1e-12))
    accuracy = (hits + len(order[1]) - alarms) / len(truth)
    return float(np.float32(cuts[int(np.argmax(f1 if by == "f1" else accuracy))]))


def slices(rows: Rows, right: npt.NDArray[np.generic]) -> SliceReport:
    """Compare how often a model is right: per project, kind, size and age of the subject."""
    return slice_report(np.asarray(right, np.float64), groups(rows))


def groups(rows: Rows) -> Mapping[str, npt.NDArray[np.str_]]:
    """Return the slices that a row belongs to."""

    def column(name: str) -> npt.NDArray[np.float32]:
        return rows.features[:, NAMES.index(name)]

    def cut(values: npt.NDArray[np.float32], edges: tuple[float, ...], names: tuple[str, ...]) -> npt.NDArray[np.str_]:
        return np.where(np.isnan(values), "unknown", np.array(names)[np.digitize(values, edges)])

    return {
        "project": rows.projects,
        "kind": rows.kinds,
        "files": cut(column("files"), (2, 6), ("1", "2 to 5", "6 and more")),
        "lines per file": cut(column("lines_of_code"), (100, 400), ("below 100", "100 to 400", "400 and more")),
        "age": cut(column("age"), (YOUNG_DAYS, OLD_DAYS), ("below 90 days", "90 to 365 days", "over a year")),
    }
