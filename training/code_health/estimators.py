"""The five models of code health as estimators: how each is built, what is searched, and what each answers.

Features of code are counts and sizes with long tails. Trees that choose their thresholds do not mind; an isolation
forest, which draws them evenly, and a network see ``sign(x) ln(1 + |x|)``. Missing values go their own way in trees and
are filled with the median for the network.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from training.search import Candidate

Rows = npt.NDArray[np.float32]
Answers = npt.NDArray[np.float64]


def signed_log(features: npt.NDArray[Any]) -> Rows:
    """Return ``sign(x) ln(1 + |x|)`` in float32: long tails become short ones, and the order stays."""
    numbers = np.asarray(features, np.float32)
    short: Rows = np.sign(numbers) * np.log1p(np.abs(numbers))
    return short


class SignedLog(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """`signed_log` as a step of a pipeline.

    Parameters
    ----------
    fill
        Whether missing values become the median of those that were there when fitting; else they stay missing.
    """

    def __init__(self, fill: bool = False) -> None:
        self.fill = fill

    def fit(self, features: npt.NDArray[Any], target: Any = None) -> Self:
        """Take the medians; a feature that was never there has 0."""
        known = np.isfinite(features).any(axis=0)
        medians = np.zeros(features.shape[1], np.float32)
        medians[known] = np.nanmedian(features[:, known], axis=0)
        self.medians_: Rows = medians
        return self

    def transform(self, features: npt.NDArray[Any]) -> Rows:
        """Return the same rows, each number by its signed logarithm."""
        return signed_log(np.where(np.isnan(features), self.medians_, features) if self.fill else features)


class DropUnseen(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Sets features to 0 that were never there when fitting: histograms of nothing cannot be made."""

    def fit(self, features: npt.NDArray[Any], target: Any = None) -> Self:
        """See which features are there."""
        self.seen_: npt.NDArray[np.bool_] = np.isfinite(features).any(axis=0)
        return self

    def transform(self, features: npt.NDArray[Any]) -> Rows:
        """Return the same rows; no tree can ask for what is 0 everywhere."""
        return np.where(self.seen_, features, 0).astype(np.float32)


def risk(trial: Any, larger: bool = False) -> Any:
    """Return a soft vote of a random forest and xgboost (Breiman, 2001; Chen & Guestrin, 2016).

    Parameters
    ----------
    trial
        Suggests hyper-parameters.
    larger
        Whether there is data for larger ones than what is served: each step down a tree costs a request 5 to 10 ns.
    """
    from sklearn.ensemble import VotingClassifier
    from xgboost import XGBClassifier

    boosted = XGBClassifier(
        n_estimators=trial.suggest_int("rounds", 40, 240 if larger else 120),
        max_depth=trial.suggest_int("depth", 2, 6 if larger else 3),
        learning_rate=trial.suggest_float("rate", 0.02, 0.2, log=True),
        min_child_weight=trial.suggest_float("child_weight", 1, 20, log=True),
        subsample=0.8,
        colsample_bytree=trial.suggest_float("columns", 0.3, 1.0),
        n_jobs=1,
        random_state=0,
    )
    share = trial.suggest_float("forest_share", 0.1, 0.9)
    return VotingClassifier(
        [("forest", forest(trial, larger)), ("boosted", boosted)],
        voting="soft",
        weights=np.array([share, 1 - share]),
        flatten_transform=False,
    )


def forest(trial: Any, larger: bool) -> Any:
    """Return a random forest."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        n_estimators=trial.suggest_int("trees", 16, 200 if larger else 40),
        max_leaf_nodes=trial.suggest_int("leaves", 16, 400 if larger else 64, log=True),
        min_samples_leaf=trial.suggest_int("leaf", 3, 40, log=True),
        max_features=trial.suggest_float("forest_columns", 0.15, 0.6),
        n_jobs=1,
        random_state=0,
    )


def bugs(trial: Any, larger: bool = False) -> Any:
    """Return gradient boosting on histograms (Friedman, 2001; Ke et al., 2017); parameters as for `risk`."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline

    boosting = HistGradientBoostingClassifier(
        max_iter=trial.suggest_int("rounds", 50, 250 if larger else 120),
        learning_rate=trial.suggest_float("rate", 0.02, 0.2, log=True),
        max_leaf_nodes=trial.suggest_int("leaves", 4, 31 if larger else 8, log=True),
        min_samples_leaf=trial.suggest_int("leaf", 10, 100, log=True),
        l2_regularization=trial.suggest_float("l2", 0.01, 30, log=True),
        max_features=trial.suggest_float("columns", 0.2, 1.0),
        early_stopping=False,
        random_state=0,
    )
    return make_pipeline(DropUnseen(), boosting)


def classic_bugs(trial: Any) -> Any:
    """Return classical gradient boosting, which looks at every value and not at histograms (Friedman, 2002)."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    boosting = GradientBoostingClassifier(
        n_estimators=trial.suggest_int("rounds", 40, 150),
        learning_rate=trial.suggest_float("rate", 0.03, 0.3, log=True),
        max_depth=trial.suggest_int("depth", 2, 4),
        min_samples_leaf=trial.suggest_int("leaf", 10, 60, log=True),
        max_features=trial.suggest_float("columns", 0.2, 1.0),
        subsample=0.5,
        random_state=0,
    )
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), boosting)


def anomaly(trees: int = 50, samples: int = 256, seed: int = 0) -> Any:
    """Return an isolation forest on signed logarithms of the features (Liu, Ting & Zhou, 2008)."""
    from sklearn.ensemble import IsolationForest
    from sklearn.pipeline import make_pipeline

    return make_pipeline(SignedLog(), IsolationForest(n_estimators=trees, max_samples=samples, random_state=seed))


def impact(trial: Any) -> Any:
    """Return a network with two hidden layers on standardised signed logarithms of the features."""
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    width = trial.suggest_int("width", 16, 64, log=True)
    network = MLPRegressor(
        hidden_layer_sizes=(width, width // 2),
        alpha=trial.suggest_float("alpha", 1e-4, 10, log=True),
        learning_rate_init=trial.suggest_float("rate", 3e-4, 1e-2, log=True),
        batch_size=128,
        max_iter=trial.suggest_int("epochs", 10, 60, log=True),
        random_state=0,
    )
    return make_pipeline(SignedLog(fill=True), StandardScaler(), network)


def plain(value: bool = False) -> Any:
    """Return the plain baseline on standardised signed logarithms: a logistic, or of a value a linear, regression."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SignedLog(fill=True), StandardScaler(), Ridge() if value else LogisticRegression(max_iter=500))


CANDIDATES: dict[str, tuple[Candidate, ...]] = {
    "code_risk": (
        Candidate(
            "forest and boosting",
            risk,
            {
                "rounds": 100, "depth": 3, "rate": 0.06, "child_weight": 8.0, "columns": 0.4, "forest_share": 0.4,
                "trees": 32, "leaves": 64, "leaf": 16, "forest_columns": 0.25,
            },
        ),
    ),
    "code_bugs": (
        Candidate(
            "histogram boosting",
            bugs,
            {"rounds": 100, "rate": 0.06, "leaves": 6, "leaf": 30, "l2": 1.0, "columns": 0.4},
        ),
        Candidate(
            "classical boosting", classic_bugs, {"rounds": 80, "rate": 0.08, "depth": 2, "leaf": 30, "columns": 0.4}
        ),
    ),
    "code_impact": (Candidate("network", impact, {"width": 32, "alpha": 0.3, "rate": 4e-3, "epochs": 40}),),
}  # fmt: skip
"""What is compared and searched per model; the isolation forest has nothing to be searched by."""


def usual(model: str) -> Any:
    """Return a model's first candidate with its defaults."""
    import optuna

    first = CANDIDATES[model][0]
    return first.build(optuna.trial.FixedTrial(dict(first.defaults)))
