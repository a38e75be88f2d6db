"""Fitting the anomaly detector: trees and forest to all users, what decides how much to believe them out of folds.

::

    users ─┬─ each third answered by a fit to the others ─> the forest's weight, calibration, thresholds ─┬─> detector
           └─ all ─────────────────────────────────────────> boosted trees, isolation forest ─────────────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from training.budget.anomaly.detector import Detector, additive, isolation_forest, linear, unconstrained
from training.budget.anomaly.metrics import recall_at, threshold_for
from training.budget.anomaly.rows import Table
from training.calibration import fit_curve, sigmoid
from training.data import splits
from training.search import Candidate, search
from training.tracking import Run

ADDITIVE: Final = "additive boosted trees"
BOOSTED: Final[Mapping[str, Any]] = {"trees": 240, "learning_rate": 0.06, "leaves": 12, "rows_per_leaf": 30, "l2": 5.0}

FALSE_POSITIVES: Final = {"suspicious": 0.03, "anomalous": 0.005}
"""Share of usual transactions that may reach each threshold, out of folds; the guarantee for others is 0.05."""

FOLDS: Final = 3
"""Parts of the users; each is answered by a fit that has not seen them."""

INSURANCE: Final = 0.02
"""Recall of known kinds of anomaly that may be given up to find kinds that were not injected."""

WEIGHTS: Final = (0.0, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5)


def searched(
    fitting: Table, trials: int, budget_s: float, seed: int = 0, run: Run | None = None, console: Console | None = None
) -> Mapping[str, Any]:
    """Compare estimators by cross-validation over users.

    Returns
    -------
    mapping
        Hyper-parameters of the best trees that can explain themselves exactly; the others are there to say what that
        costs.
    """
    candidates = [
        Candidate(ADDITIVE, lambda trial: additive(trial, seed), BOOSTED),
        Candidate("unconstrained boosted trees", lambda trial: unconstrained(trial, seed), BOOSTED),
        Candidate("logistic regression", linear, {"C": 1.0}),
    ]
    found = search(
        candidates, fitting.rows, fitting.odd.astype(np.int64), splits.folds(fitting.users, 2, seed), _precision,
        trials=trials, budget_s=budget_s, run=run, console=console, seed=seed,
    )  # fmt: skip
    if run is not None:
        run.text(found.markdown(), "search.md")
    return next(trial.params for trial in found.trials if trial.name == ADDITIVE)


def fit(params: Mapping[str, Any], known: Table, seed: int = 0) -> tuple[Detector, dict[str, float]]:
    """Fit a detector to all rows; weigh, calibrate and cut it by answers to users that the answering fit has not seen.

    Parameters
    ----------
    params
        Hyper-parameters of the boosted trees.
    known
        Rows of at least two users.
    seed
        Divides the users, and of both estimators.

    Returns
    -------
    detector, thresholds
    """
    odds, strange = np.zeros(len(known)), np.zeros(len(known))
    for learned, asked in splits.folds(known.users, min(FOLDS, len(np.unique(known.users))), seed):
        part, rows = fit_parts(params, known.select(learned), seed), known.rows[asked]
        odds[asked] = part.boosted.decision_function(rows)
        strange[asked] = (part.strangeness(rows) - part.middle) / part.spread
    recall = [recall_at(odds + weight * strange, known.odd, FALSE_POSITIVES["suspicious"]) for weight in WEIGHTS]
    weight = max(one for one, found in zip(WEIGHTS, recall, strict=True) if found >= max(recall) - INSURANCE)
    slope, intercept = fit_curve(odds + weight * strange, known.odd)
    score = sigmoid(slope * (odds + weight * strange) + intercept)
    detector = replace(fit_parts(params, known, seed), weight=weight, slope=slope, intercept=intercept)
    return detector, {name: threshold_for(score, known.odd, share) for name, share in FALSE_POSITIVES.items()}


def fit_parts(params: Mapping[str, Any], known: Table, seed: int) -> Detector:
    """Fit the boosted trees and the isolation forest, which has no weight yet."""
    import optuna

    trees = additive(optuna.trial.FixedTrial(dict(params)), seed).fit(known.rows, known.odd)
    forest = isolation_forest(known.rows, seed)
    plain = Detector(trees, forest, np.median(known.rows[~known.odd], axis=0), 0.0, 1.0, 0.0)
    strange = plain.strangeness(known.rows)
    return replace(plain, middle=float(strange.mean()), spread=float(strange.std()))


def _precision(estimator: Any, rows: npt.NDArray[Any], odd: npt.NDArray[Any]) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(odd, estimator.predict_proba(rows)[:, 1]))
