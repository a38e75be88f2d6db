"""Fitting the anomaly detector: trees by cross-validation over users, then weight, calibration and thresholds.

What is fitted to labels comes from the fitting users; what decides how much of it to believe, from validation users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from training.budget_anomaly_model import Detector, additive, isolation_forest, linear, unconstrained
from training.budget_anomaly_score import metrics_of, recall_at, threshold_for
from training.budget_anomaly_table import Table
from training.data import splits
from training.search import Candidate, search
from training.tracking import Run

ADDITIVE: Final = "additive boosted trees"
BOOSTED: Final[Mapping[str, Any]] = {"trees": 240, "learning_rate": 0.06, "leaves": 12, "rows_per_leaf": 30, "l2": 5.0}

FALSE_POSITIVES: Final = {"suspicious": 0.03, "anomalous": 0.005}
"""Share of usual transactions that may reach each threshold, on validation users; the promise for others is 0.05."""

INSURANCE: Final = 0.02
"""Recall of known kinds of anomaly that may be given up to find kinds that nobody injected."""

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


def boosted(params: Mapping[str, Any], fitting: Table, seed: int = 0) -> Any:
    """Fit the additive boosted trees."""
    import optuna

    return additive(optuna.trial.FixedTrial(dict(params)), seed).fit(fitting.rows, fitting.odd)


def assembled(trees: Any, fitting: Table, validation: Table, seed: int = 0) -> tuple[Detector, dict[str, float]]:
    """Put the isolation forest beside fitted trees; weigh, calibrate and cut the sum by validation users.

    Returns
    -------
    detector, thresholds
    """
    forest = isolation_forest(fitting.rows, seed)
    plain = Detector(trees, forest, np.median(fitting.rows[~fitting.odd], axis=0), 0.0, 1.0, 0.0)
    strange = plain.strangeness(fitting.rows)
    plain = replace(plain, middle=float(strange.mean()), spread=float(strange.std()))
    odds, strange = trees.decision_function(validation.rows), plain.strangeness(validation.rows)
    strange = (strange - plain.middle) / plain.spread
    recall = [recall_at(odds + weight * strange, validation.odd, FALSE_POSITIVES["suspicious"]) for weight in WEIGHTS]
    weight = max(one for one, found in zip(WEIGHTS, recall, strict=True) if found >= max(recall) - INSURANCE)
    slope, intercept = _platt(odds + weight * strange, validation.odd)
    detector = replace(plain, weight=weight, slope=slope, intercept=intercept)
    score = detector.scores(validation.rows)
    return detector, {name: threshold_for(score, validation.odd, share) for name, share in FALSE_POSITIVES.items()}


def unknown_kinds(params: Mapping[str, Any], fitting: Table, validation: Table, test: Table, seed: int = 0) -> str:
    """Leave each kind of anomaly out of training in turn, and see whether it is found; return a table in Markdown."""
    lines = [
        "| kind left out | recall, trees alone | with the forest | of known kinds | usual reported |",
        "|---|---|---|---|---|",
    ]
    for kind in np.unique(test.kinds[test.odd]).tolist():
        left, held = fitting.select(fitting.kinds != kind), validation.select(validation.kinds != kind)
        trees = boosted(params, left, seed)
        detector, thresholds = assembled(trees, left, held, seed)
        found = metrics_of(detector.scores(test.rows), test, thresholds)
        alone = trees.decision_function(test.rows)
        bar = threshold_for(alone, test.odd, found["suspicious.false_positives"])
        others = detector.scores(test.rows[test.odd & (test.kinds != kind)]) >= thresholds["suspicious"]
        lines.append(
            f"| {kind} | {(alone[test.kinds == kind] >= bar).mean():.2f} | {found[f'suspicious.recall.{kind}']:.2f} "
            f"| {others.mean():.2f} | {found['suspicious.false_positives']:.1%} |"
        )
    return "\n".join(lines)


def _platt(odds: npt.NDArray[np.float64], odd: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Fit the logistic curve from log-odds to probability (Platt, 1999)."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=100.0).fit(odds[:, None], odd)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _precision(estimator: Any, rows: npt.NDArray[Any], odd: npt.NDArray[Any]) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(odd, estimator.predict_proba(rows)[:, 1]))
