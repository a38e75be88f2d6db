"""Two plain tasks on hourly prices: the next hour's direction, and the next day's volatility.

Neither is served. Others have said how well they can be done, so they show what the 18 features of the alerts say, and
what they leave out: they describe the market as a whole, and know neither the last hours' returns nor any one asset's
own volatility.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.market.features import rolling
from models.market.windows import bridged
from training.data import splits
from training.data.splits import Indices
from training.market.history import History
from training.market.metrics import EMBARGO, area
from training.market.rows import Features, Floats

Folds = Sequence[tuple[Indices, Indices]]

DAY_H: Final = 24
RETURNS_H: Final = (1, 2, 3, 4, 6, 12, 24)
"""The last returns that direction is predicted from, in hours."""

VOLATILITIES_H: Final = (4, 24, 167)
"""The windows of an asset's own volatility (Corsi's HAR model, Journal of Financial Econometrics 7, 2009)."""

SMALLEST = 1e-8


@dataclass(frozen=True)
class Plain:
    """One plain task: what was asked, what from, in which figure, and the folds' values."""

    task: str
    predicted_from: str
    figure: str
    values: tuple[float, ...]


def plain_tasks(history: History, folds: int, stride: int = 2) -> list[Plain]:
    """Evaluate both tasks, each learned from everything 48 h before a fold and tested on the fold.

    Parameters
    ----------
    history
        Prices and context.
    folds
        How many.
    stride
        Learn from every Nth hour.
    """
    at = history.hours(stride)
    rows = rolling(history.prices, at, history.context)
    cut = splits.by_time(history.times[at], folds, EMBARGO)
    paths = np.log(bridged(history.prices[None])[0])  # (hours, assets)
    lags = np.stack([paths[at, 0] - paths[at - h, 0] for h in RETURNS_H], axis=1).astype(np.float32)
    rose = paths[at + 1, 0] > paths[at, 0]
    squares = np.concatenate([np.zeros((1, paths.shape[1])), np.cumsum(np.diff(paths, axis=0) ** 2, axis=0)])

    def ln_volatility(start: Indices, end: Indices) -> Floats:
        found: Floats = np.log(np.maximum(np.sqrt(squares[end] - squares[start]), SMALLEST))
        return found

    coming = ln_volatility(at, at + DAY_H)  # (rows, assets)
    own = np.stack([ln_volatility(at - h, at) for h in VOLATILITIES_H], axis=2)  # (rows, assets, windows)
    direction, volatility = "Bitcoin rises in the next hour", "ln volatility of each asset in the next 24 h"
    found = [
        Plain(direction, predicted_from, "AUC", _fold(_directions, table, rose, cut))
        for predicted_from, table in (
            ("the 18 features", rows),
            ("Bitcoin's returns of the last 1 to 24 h", lags),
            ("both", np.concatenate([rows, lags], axis=1)),
        )
    ]
    shared = np.repeat(rows[:, None, :], coming.shape[1], axis=1)  # (rows, assets, 18)
    found += [
        Plain(volatility, predicted_from, "R2", _fold(_volatilities, table, coming, cut))
        for predicted_from, table in (
            ("the 18 features", shared),
            ("the asset's own volatility of 4, 24, 167 h", own),
            ("both", np.concatenate([shared, own], axis=2)),
        )
    ]
    mean = coming.mean(axis=1, keepdims=True)
    found.append(
        Plain(
            f"{volatility}, mean of the assets",
            "the 18 features",
            "R2",
            _fold(_volatilities, rows[:, None], mean, cut),
        )
    )
    return found


def markdown(found: Sequence[Plain]) -> str:
    """Return the tasks as a table: means over folds, and their range."""
    lines = ["| task | predicted from | | mean (worst to best fold) |", "|---|---|---|---|"]
    lines += [
        f"| {one.task} | {one.predicted_from} | {one.figure} "
        f"| {np.mean(one.values):.3f} ({min(one.values):.3f} to {max(one.values):.3f}) |"
        for one in found
    ]
    return "\n".join(lines)


def logistic_areas(features: Features, happened: npt.NDArray[np.bool_], folds: Folds) -> list[float]:
    """Return each question's area under the ROC curve by logistic regression, mean over folds."""
    from sklearn.linear_model import LogisticRegression

    def ranked(train: Features, truth: npt.NDArray[Any], test: Features, target: npt.NDArray[Any]) -> float:
        if len(np.unique(truth)) < 2:
            return float("nan")
        fitted = _scale(LogisticRegression(max_iter=500)).fit(train, truth)
        return area(fitted.predict_proba(test)[:, 1], target)

    areas = [_fold(ranked, features, happened[:, k], folds) for k in range(happened.shape[1])]
    return [float(np.nanmean(one)) if np.isfinite(one).any() else float("nan") for one in areas]


def _directions(train: Features, rose: npt.NDArray[Any], test: Features, truth: npt.NDArray[Any]) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier

    boosting = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.03, max_leaf_nodes=6, min_samples_leaf=200, random_state=0
    )
    return area(boosting.fit(train, rose).predict_proba(test)[:, 1], truth)


def _volatilities(train: Floats, coming: Floats, test: Floats, truth: Floats) -> float:
    """Return R2 over all assets' rows together; a ridge regression is fitted to each asset."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score

    predictions = [
        _scale(Ridge(1.0)).fit(train[:, asset], coming[:, asset]).predict(test[:, asset])
        for asset in range(coming.shape[1])
    ]
    return float(r2_score(truth.ravel(), np.stack(predictions, axis=1).ravel()))


def _fold(
    score: Callable[..., float], features: npt.NDArray[Any], target: npt.NDArray[Any], folds: Folds
) -> tuple[float, ...]:
    # scikit-learn's boosting bins no column that is missing throughout; nothing is lost with it
    absent = np.isnan(features).all(axis=0)
    filled = np.where(absent, np.zeros((), features.dtype), features)
    return tuple(score(filled[train], target[train], filled[test], target[test]) for train, test in folds)


def _scale(estimator: Any) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), estimator)
