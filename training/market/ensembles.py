"""Sixteen ensembles, one a question: a random forest and gradient boosting, whose probabilities are averaged 60 to 40.

::

    features ─┬─> 16 random forests (100 trees, depth 10) ──────── 60 % ─┬─> 16 logistic curves ─> nesting
              └─> 16 gradient boostings (100 rounds, rate 0.1) ─── 40 % ─┘                             └─> probabilities

The curves are fitted to answers on hours that an ensemble had not seen, which come after those it was trained on
(`out_of_fold`), and so are the thresholds from which an alert is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from models.market.alerts import HORIZONS_H, NESTED, QUESTIONS
from models.market.features import CONTEXT, NAMES
from training.calibration import Nesting, PlattScaling
from training.data.splits import Indices
from training.export.onnx_graph import Graph
from training.export.tree_graph import Voter, vote
from training.export.trees import stacked, trees_of
from training.market.rows import Features, Floats

Flags = npt.NDArray[np.bool_]

FOREST_SHARE: Final = 0.6
"""What the forest's probability counts for; the rest is boosting's."""

FORGOTTEN: Final = 0.25
"""Share of training rows from which each feature that callers may leave out is taken, so that its absence is usual."""

ALERTS_PER_DAY: Final = 2.0
"""At how many hours a day a question gives an alert at most, asked every hour, where its state does not hold already.
The four horizons of an alert agree often: together they give at most four a day, see docs/families/market.md."""

LEAST_ROWS: Final = 50

NESTING: Final = Nesting.of(NESTED, len(QUESTIONS))
"""What is answered within a longer horizon is no less probable than within a shorter one, where the events are."""

Progress = Callable[[str], None]


class AlertEnsembles(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Sixteen pairs of ensembles behind the interface of a scikit-learn classifier.

    Parameters
    ----------
    trees, rounds : int
        Of a forest, and of boosting.
    forest_leaf : int
        Least rows in a forest's leaf.
    forest_rows : float
        Share of the rows each tree is grown on. Hours overlap: neighbours are nearly copies, and trees grown on few of
        them differ more (López de Prado, Advances in Financial Machine Learning, 2018, section 6.3).
    forest_features : float
        Share of the features a split chooses among.
    boosting_leaves : int
        Leaves of a boosted tree.
    boosting_leaf : float
        Least share of the rows in such a leaf.
    boosting_features : float
        Share of the features a split of boosting chooses among.
    seed : int
        Of all chance.
    """

    def __init__(
        self,
        trees: int = 100,
        rounds: int = 100,
        forest_leaf: int = 10,
        forest_rows: float = 0.25,
        forest_features: float = 0.5,
        boosting_leaves: int = 4,
        boosting_leaf: float = 0.02,
        boosting_features: float = 0.5,
        seed: int = 0,
    ) -> None:
        self.trees = trees
        self.rounds = rounds
        self.forest_leaf = forest_leaf
        self.forest_rows = forest_rows
        self.forest_features = forest_features
        self.boosting_leaves = boosting_leaves
        self.boosting_leaf = boosting_leaf
        self.boosting_features = boosting_features
        self.seed = seed

    def fit(self, features: Features, happened: Flags, shown: Progress | None = None) -> AlertEnsembles:
        """Fit both ensembles of every question.

        Parameters
        ----------
        features
            float32 [N, 18].
        happened
            bool [N, questions].
        shown
            Called once an alert.

        Raises
        ------
        ValueError
            If there are fewer than 50 rows.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

        if len(features) < LEAST_ROWS:
            raise ValueError(f"expected at least {LEAST_ROWS} hours to learn from, got {len(features)}")
        rows = self._prepare(features)
        self.forests_, self.boosted_ = [], []
        for question in range(happened.shape[1]):
            # As if each answer had been seen once more, on the usual hour (Laplace's rule of succession): an event that
            # never happened in a short history is unlikely, not impossible.
            target = np.concatenate([happened[:, question], [False, True]])
            forest = RandomForestClassifier(
                self.trees,
                max_depth=10,
                min_samples_leaf=self.forest_leaf,
                max_samples=self.forest_rows,
                max_features=self.forest_features,
                random_state=self.seed + question,
            )
            boosting = HistGradientBoostingClassifier(
                learning_rate=0.1,
                max_iter=self.rounds,
                max_leaf_nodes=self.boosting_leaves,
                min_samples_leaf=max(5, round(self.boosting_leaf * len(rows))),
                max_features=self.boosting_features,
                early_stopping=False,
                random_state=self.seed + question,
            )
            self.forests_.append(forest.fit(rows, target))
            self.boosted_.append(boosting.fit(rows, target))
            if shown is not None and (question + 1) % len(HORIZONS_H) == 0:
                shown(f"{question + 1} of {happened.shape[1]} questions")
        return self

    def votes(self, features: Features) -> tuple[Floats, Floats]:
        """Return what forests and boosting answer, each float64 [N, questions]."""
        forests, boosted = (
            np.stack([one.predict_proba(features)[:, 1] for one in members], axis=1)
            for members in (self.forests_, self.boosted_)
        )
        return forests, boosted

    def predict_proba(self, features: Features) -> Floats:
        """Return the averaged probabilities, float64 [N, questions], not calibrated."""
        forests, boosted = self.votes(features)
        averaged: Floats = FOREST_SHARE * forests + (1 - FOREST_SHARE) * boosted
        return averaged

    def graph(self, calibration: PlattScaling, nesting: Nesting | None = None) -> Graph:
        """Return all ensembles as one graph: ``features`` to ``probabilities`` and ``spread``, float32 [batch, 16]."""
        forests, boosted = (stacked([trees_of(one) for one in members]) for members in (self.forests_, self.boosted_))
        voters = [Voter(forests, weight=FOREST_SHARE), Voter(boosted, "Sigmoid", weight=1 - FOREST_SHARE)]
        return vote(voters, len(NAMES), calibration=calibration, nesting=nesting, spread=True)

    def _prepare(self, features: Features) -> Features:
        """Return the rows to learn from: optional features forgotten in some, and two usual rows appended."""
        rows = features.copy()
        forgotten = np.random.default_rng(self.seed).random((len(rows), len(CONTEXT))) < FORGOTTEN
        rows[:, -len(CONTEXT) :][forgotten] = np.nan
        rows[:, np.isnan(rows).all(axis=0)] = 0.0  # what was never known: a constant, by which nothing can be split
        usual = np.nanmedian(rows, axis=0)
        return np.concatenate([rows, usual[None], usual[None]]).astype(np.float32)


@dataclass(frozen=True)
class Answers:
    """Answers to hours that were unknown to who answered.

    Attributes
    ----------
    rows
        int64 [M], which rows were answered, in order of time.
    probabilities
        float64 [M, questions], not calibrated.
    fold
        int64 [M], the fold each is from.
    """

    rows: Indices
    probabilities: Floats
    fold: npt.NDArray[np.int64]


def out_of_fold(
    estimator: AlertEnsembles,
    features: Features,
    happened: Flags,
    folds: Sequence[tuple[Indices, Indices]],
    shown: Progress | None = None,
) -> Answers:
    """Refit an estimator for each fold, and answer the fold's test rows."""
    from sklearn.base import clone

    answers = []
    for train, test in folds:
        fitted = clone(estimator).fit(features[train], happened[train], shown)
        answers.append(fitted.predict_proba(features[test]))
    rows = np.concatenate([test for _, test in folds])
    fold = np.repeat(np.arange(len(folds)), [len(test) for _, test in folds])
    return Answers(rows, np.concatenate(answers), fold)


def best_thresholds(probabilities: Floats, happened: Flags) -> Floats:
    """Return per question the threshold with the best F1, halfway between two answers that were given.

    Parameters
    ----------
    probabilities
        float64 [N, questions].
    happened
        bool [N, questions].
    """
    thresholds = np.full(probabilities.shape[1], 0.5)
    for question in range(probabilities.shape[1]):
        order = np.argsort(-probabilities[:, question], kind="stable")
        p, truth = probabilities[order, question], happened[order, question]
        if not truth.any():
            continue
        f1 = 2 * np.cumsum(truth) / (np.arange(1, len(truth) + 1) + truth.sum())
        f1[:-1][p[:-1] == p[1:]] = -1  # equal answers cannot be distinguished
        best = int(f1.argmax())
        thresholds[question] = (p[best] + (p[best + 1] if best + 1 < len(p) else 0.0)) / 2
    return thresholds


def rate_thresholds(probabilities: Floats, counted: Flags, period: npt.NDArray[np.int64]) -> Floats:
    """Return per question the least threshold at which `ALERTS_PER_DAY` holds in each of several periods.

    Parameters
    ----------
    probabilities
        float64 [N, questions], of hours asked about at even distances.
    counted
        bool [N, questions]: which of them count, those at which the alert's state does not hold already.
    period
        int64 [N]: the period each hour is of.
    """
    thresholds = np.zeros(probabilities.shape[1])
    for one in np.unique(period):
        mine = np.where(counted[period == one], probabilities[period == one], 0.0)
        ordered = -np.sort(-mine, axis=0)
        # the first that may reach it no more; what equals it may not either
        beyond = ordered[int(ALERTS_PER_DAY / 24 * len(ordered))]
        above = np.where(ordered > beyond, ordered, 1.0).min(axis=0)
        thresholds = np.maximum(thresholds, (beyond + above) / 2)
    return thresholds


def mean_auc(fitted: Any, features: Features, happened: Flags) -> float:
    """Return the mean area under the ROC curve over the questions that have both answers."""
    from sklearn.metrics import roc_auc_score

    answers = fitted.predict_proba(features)
    both = [k for k in range(happened.shape[1]) if 0 < happened[:, k].sum() < len(happened)]
    return float(np.mean([roc_auc_score(happened[:, k], answers[:, k]) for k in both])) if both else 0.5
