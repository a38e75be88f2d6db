"""The five models of code health as estimators: how each is built, what is searched, and what each answers.

Features of code are counts and sizes with long tails. Trees that choose their thresholds do not mind; an isolation
forest, which draws them evenly, and a network see ``sign(x) ln(1 + |x|)``. Missing values go their own way in trees and
are filled with the median for the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from training.forest_graphs import Calibration
from training.search import Candidate

Rows = npt.NDArray[np.float32]
Answers = npt.NDArray[np.float64]


def tamed(features: npt.NDArray[Any]) -> Rows:
    """Return ``sign(x) ln(1 + |x|)`` in float32: long tails become short ones, and the order stays."""
    numbers = np.asarray(features, np.float32)
    short: Rows = np.sign(numbers) * np.log1p(np.abs(numbers))
    return short


class Tamed(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """`tamed` as a step of a pipeline.

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
        """Return the same rows, tamed."""
        return tamed(np.where(np.isnan(features), self.medians_, features) if self.fill else features)


class Seen(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Sets features to 0 that were never there when fitting: histograms of nothing cannot be made."""

    def fit(self, features: npt.NDArray[Any], target: Any = None) -> Self:
        """See which features are there."""
        self.seen_: npt.NDArray[np.bool_] = np.isfinite(features).any(axis=0)
        return self

    def transform(self, features: npt.NDArray[Any]) -> Rows:
        """Return the same rows; no tree can ask for what is 0 everywhere."""
        return np.where(self.seen_, features, 0).astype(np.float32)


def risk(trial: Any) -> Any:
    """Return a soft vote of a random forest and xgboost (Breiman, 2001; Chen & Guestrin, 2016)."""
    from sklearn.ensemble import VotingClassifier
    from xgboost import XGBClassifier

    boosted = XGBClassifier(
        n_estimators=trial.suggest_int("rounds", 60, 240),
        max_depth=trial.suggest_int("depth", 2, 6),
        learning_rate=trial.suggest_float("rate", 0.02, 0.2, log=True),
        min_child_weight=trial.suggest_float("child_weight", 1, 20, log=True),
        subsample=0.8,
        colsample_bytree=trial.suggest_float("columns", 0.3, 1.0),
        n_jobs=1,
        random_state=0,
    )
    share = trial.suggest_float("forest_share", 0.1, 0.9)
    return VotingClassifier(
        [("forest", forest(trial)), ("boosted", boosted)],
        voting="soft",
        weights=np.array([share, 1 - share]),
        flatten_transform=False,
    )


def forest(trial: Any) -> Any:
    """Return a random forest."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        n_estimators=trial.suggest_int("trees", 60, 200),
        max_leaf_nodes=trial.suggest_int("leaves", 32, 400, log=True),
        min_samples_leaf=trial.suggest_int("leaf", 3, 40, log=True),
        max_features=trial.suggest_float("forest_columns", 0.15, 0.6),
        n_jobs=1,
        random_state=0,
    )


def bugs(trial: Any) -> Any:
    """Return gradient boosting on histograms (Friedman, 2001; Ke et al., 2017)."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline

    boosting = HistGradientBoostingClassifier(
        max_iter=trial.suggest_int("rounds", 50, 250),
        learning_rate=trial.suggest_float("rate", 0.02, 0.2, log=True),
        max_leaf_nodes=trial.suggest_int("leaves", 4, 31, log=True),
        min_samples_leaf=trial.suggest_int("leaf", 10, 100, log=True),
        l2_regularization=trial.suggest_float("l2", 0.01, 30, log=True),
        max_features=trial.suggest_float("columns", 0.2, 1.0),
        early_stopping=False,
        random_state=0,
    )
    return make_pipeline(Seen(), boosting)


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


def anomaly(trees: int = 100, samples: int = 256, seed: int = 0) -> Any:
    """Return an isolation forest on tamed features (Liu, Ting & Zhou, 2008)."""
    from sklearn.ensemble import IsolationForest
    from sklearn.pipeline import make_pipeline

    return make_pipeline(Tamed(), IsolationForest(n_estimators=trees, max_samples=samples, random_state=seed))


def impact(trial: Any) -> Any:
    """Return a network with two hidden layers on tamed, standardised features."""
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
    return make_pipeline(Tamed(fill=True), StandardScaler(), network)


CANDIDATES: dict[str, tuple[Candidate, ...]] = {
    "code_risk": (
        Candidate(
            "forest and boosting",
            risk,
            {
                "rounds": 100, "depth": 3, "rate": 0.06, "child_weight": 8.0, "columns": 0.4, "forest_share": 0.4,
                "trees": 80, "leaves": 128, "leaf": 16, "forest_columns": 0.25,
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


@dataclass(frozen=True)
class Member:
    """A fitted model: from rows of its own features to one number each.

    Attributes
    ----------
    model
        Served name.
    estimator
        Fitted: a classifier of two classes, an isolation forest behind `Tamed`, or a regressor.
    calibration
        For classifiers, from the estimator's probability to what is answered.
    """

    model: str
    estimator: Any
    calibration: Calibration | None = None

    def answer(self, rows: Rows) -> Answers:
        """Return P(second class), the score (higher is stranger) or the value (held between 0 and 1) of each row."""
        if hasattr(self.estimator, "predict_proba"):
            probability = self.estimator.predict_proba(rows)[:, 1:].astype(np.float64)
            return (self.calibration(probability) if self.calibration else probability)[:, 0]
        if hasattr(self.estimator, "score_samples"):
            return np.asarray(-self.estimator.score_samples(rows), np.float64)
        return np.clip(np.asarray(self.estimator.predict(rows), np.float64), 0.0, 1.0)

    def outputs(self, rows: Rows) -> dict[str, Answers]:
        """Return what its graph gives: ``probabilities`` [N, 2], ``score`` [N, 1] or ``value`` [N, 1]."""
        answer = self.answer(rows)[:, None]
        if hasattr(self.estimator, "predict_proba"):
            return {"probabilities": np.hstack([1 - answer, answer])}
        return {"score" if hasattr(self.estimator, "score_samples") else "value": answer}


@dataclass(frozen=True)
class Council:
    """A soft vote: each member's answer becomes a probability of the council's own question, and the mean decides.

    Attributes
    ----------
    members
        In the order of the votes.
    columns
        Per member, the places of its features among the council's.
    slope, intercept
        float64 [members]: a member's vote is ``sigmoid(slope * answer + intercept)`` (Platt, 1999).
    weights
        float64 [members], none negative, with sum 1.
    """

    members: tuple[Member, ...]
    columns: tuple[npt.NDArray[np.int64], ...]
    slope: Answers
    intercept: Answers
    weights: Answers
    model: str = "code_meta"

    def answers(self, rows: Rows) -> Answers:
        """Return every member's own answer, [N, members]."""
        return np.stack([one.answer(rows[:, its]) for one, its in zip(self.members, self.columns, strict=True)], 1)

    def answer(self, rows: Rows) -> Answers:
        """Return the mean vote of each row, [N]."""
        return self.mean(self.answers(rows))

    def mean(self, answers: Answers) -> Answers:
        """Return the mean vote [N] of members' answers [N, members]."""
        mean: Answers = sigmoid(answers * self.slope + self.intercept) @ self.weights
        return mean

    def outputs(self, rows: Rows) -> dict[str, Answers]:
        """Return what its graph gives: ``probabilities`` [N, 2] and ``members`` [N, members]."""
        answers = self.answers(rows)
        probability = self.mean(answers)[:, None]
        return {"probabilities": np.hstack([1 - probability, probability]), "members": answers}


def council(
    members: Sequence[Member], columns: Sequence[npt.NDArray[np.int64]], rows: Rows, target: Answers
) -> Council:
    """Learn how to put members' answers together, on rows that none of them was fitted to.

    Parameters
    ----------
    members, columns
        As in `Council`.
    rows
        float32 [N, features].
    target
        [N], 0 or 1.
    """
    answers = [one.answer(rows[:, its]) for one, its in zip(members, columns, strict=True)]
    return Council(tuple(members), tuple(columns), *weighed(np.stack(answers, axis=1), target))


def weighed(answers: Answers, target: Answers) -> tuple[Answers, Answers, Answers]:
    """Learn each member's curve, and the weights of the vote with the least cross entropy.

    Parameters
    ----------
    answers
        float64 [N, members], to rows that no member was fitted to.
    target
        [N], 0 or 1.

    Returns
    -------
    slope, intercept, weights
        As in `Council`.
    """
    from scipy.optimize import minimize

    slope, intercept = np.array([platt(answer, target) for answer in answers.T]).T
    votes = sigmoid(answers * slope + intercept)
    most = np.where(slope > 0, 1.0, 0.0)  # whose answers point the wrong way has no vote
    most = most if most.any() else np.ones(len(slope))

    def cost(weights: Answers) -> float:
        mean = np.clip(votes @ weights, 1e-6, 1 - 1e-6)
        return float(-np.mean(target * np.log(mean) + (1 - target) * np.log(1 - mean)))

    found = minimize(
        cost,
        most / most.sum(),
        bounds=[(0, one) for one in most],
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        method="SLSQP",
    )
    weights = np.clip(np.round(found.x, 4), 0, 1)
    return slope, intercept, weights / weights.sum()


def calibrated(model: str, estimator: Any, rows: Rows, target: Answers) -> Member:
    """Return a classifier as a member, calibrated on rows it was not fitted to (Platt, 1999)."""
    probability = np.clip(estimator.predict_proba(rows)[:, 1].astype(np.float64), 1e-3, 1 - 1e-3)
    slope, intercept = platt(np.log(probability / (1 - probability)), target)
    return Member(model, estimator, Calibration(np.array([slope]), np.array([intercept])))


def platt(answers: Answers, target: Answers) -> tuple[float, float]:
    """Return slope and intercept of the logistic curve from answers to a target of 0 and 1."""
    from sklearn.linear_model import LogisticRegression

    spread = float(answers.std()) or 1.0
    curve = LogisticRegression(C=100.0).fit(((answers - answers.mean()) / spread)[:, None], target)
    slope = float(curve.coef_[0, 0]) / spread
    return slope, float(curve.intercept_[0]) - slope * float(answers.mean())


def sigmoid(logits: npt.NDArray[Any]) -> Answers:
    """Return ``1 / (1 + exp(-x))``, in double precision."""
    answer: Answers = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return answer
