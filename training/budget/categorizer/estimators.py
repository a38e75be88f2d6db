"""Estimators of a category from rows: linear on everything, or trees on what a linear model and the facts say.

All of them answer as scikit-learn's do, and come apart into what a graph is made of: a table, and perhaps trees.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from models.budget.categories import BUCKETS, GROUP_COLUMNS, GROUPS
from models.probabilities import softmax
from training.budget.categorizer.vectorizer import SparseRows
from training.data import splits

NEVER = -12.0
"""Logit of a category that a fold has not seen."""

CROSSED = ("kind x amount", "cents x amount")
FACT_COLUMNS = np.concatenate(
    [np.arange(GROUP_COLUMNS[name].start, GROUP_COLUMNS[name].stop) for name in GROUPS if name not in CROSSED]
)
"""The facts that trees read: they cross them themselves."""

FACT_COUNT = len(FACT_COLUMNS)


class LinearBag(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Softmax regression on all columns.

    Parameters
    ----------
    strength
        Inverse of the ridge penalty.
    iterations
        Most steps of L-BFGS. On recorded payments 40 leave rare categories behind; more than 100 were not tried.
    """

    def __init__(self, strength: float = 4.0, iterations: int = 100) -> None:
        self.strength = strength
        self.iterations = iterations

    def fit(self, rows: SparseRows, target: npt.NDArray[Any], weights: npt.NDArray[Any] | None = None) -> LinearBag:
        """Fit; `weights` [N] say how much each row counts."""
        self.classes_ = np.unique(target)
        if len(self.classes_) == 1:  # scikit-learn takes no single one, and few labels may leave a fold no other
            self.table_, self.bias_ = np.zeros((BUCKETS, 1), np.float32), np.zeros(1, np.float32)
            return self
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=self.strength, max_iter=self.iterations)
            # L-BFGS keeps twenty copies of its weights: most buckets of a table are empty, and would cost most of it.
            used = np.flatnonzero(rows.matrix.getnnz(axis=0))
            model.fit(rows.matrix[:, used], target, weights)
        self.table_ = np.zeros((BUCKETS, len(model.coef_)), np.float32)
        self.table_[used] = model.coef_.T
        self.bias_ = model.intercept_.astype(np.float32)
        if len(self.classes_) == 2:  # scikit-learn keeps one column of two
            self.table_ = np.concatenate([np.zeros_like(self.table_), self.table_], axis=1)
            self.bias_ = np.concatenate([np.zeros_like(self.bias_), self.bias_])
        return self

    def decision_function(self, rows: SparseRows) -> npt.NDArray[np.float32]:
        """Return logits float32 [N, classes]."""
        logits: npt.NDArray[np.float32] = np.asarray(rows.matrix @ self.table_) + self.bias_
        return logits

    def predict_proba(self, rows: SparseRows) -> npt.NDArray[np.float64]:
        """Return probabilities [N, classes]."""
        return softmax(self.decision_function(rows))

    def predict(self, rows: SparseRows) -> npt.NDArray[Any]:
        """Return the likeliest class of each row, [N]."""
        likeliest: npt.NDArray[Any] = self.classes_[self.decision_function(rows).argmax(axis=1)]
        return likeliest


class StackedTrees(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Trees on the logits of linear models and on the facts.

    Linear models of three folds of users give the logits that the trees learn from; their mean gives those that the
    trees are asked by (Wolpert, Stacked generalization, 1992).

    Parameters
    ----------
    kind
        "forest" for a random forest, "boosted" for gradient boosting (xgboost).
    trees
        How many; of "boosted", per category.
    depth
        Of "boosted"; a forest's leaves hold at least four rows instead.
    strength, iterations
        Of the linear models.
    """

    def __init__(
        self, kind: str = "forest", trees: int = 60, depth: int = 4, strength: float = 4.0, iterations: int = 20
    ) -> None:
        self.kind = kind
        self.trees = trees
        self.depth = depth
        self.strength = strength
        self.iterations = iterations

    def fit(self, rows: SparseRows, target: npt.NDArray[Any], weights: npt.NDArray[Any] | None = None) -> StackedTrees:
        """Fit; `weights` [N] say how much each row counts."""
        self.classes_, classes = np.unique(target, return_inverse=True)
        logits = np.zeros((len(rows), len(self.classes_)), np.float32)
        tables, biases = [], []
        for train, test in splits.folds(rows.users, min(3, len(np.unique(rows.users)))):
            linear = LinearBag(self.strength, self.iterations).fit(
                rows[train], classes[train], None if weights is None else weights[train]
            )
            table = np.zeros((BUCKETS, len(self.classes_)), np.float32)
            bias = np.full(len(self.classes_), NEVER, np.float32)
            table[:, linear.classes_], bias[linear.classes_] = linear.table_, linear.bias_
            logits[test] = rows.matrix[test] @ table + bias
            tables.append(table)
            biases.append(bias)
        self.table_, self.bias_ = np.mean(tables, axis=0), np.mean(biases, axis=0)
        self.model_ = self._model().fit(_beside(logits, rows), classes, sample_weight=weights)
        return self

    def decision_features(self, rows: SparseRows) -> npt.NDArray[np.float32]:
        """Return what the trees read, float32 [N, classes + facts]."""
        return _beside(rows.matrix @ self.table_ + self.bias_, rows)

    def predict_proba(self, rows: SparseRows) -> npt.NDArray[np.float64]:
        """Return probabilities [N, classes]."""
        probabilities: npt.NDArray[np.float64] = self.model_.predict_proba(self.decision_features(rows)).astype(
            np.float64
        )
        return probabilities

    def predict(self, rows: SparseRows) -> npt.NDArray[Any]:
        """Return the likeliest class of each row, [N]."""
        likeliest: npt.NDArray[Any] = self.classes_[self.predict_proba(rows).argmax(axis=1)]
        return likeliest

    def _model(self) -> Any:
        if self.kind == "forest":
            return RandomForestClassifier(self.trees, min_samples_leaf=4, max_features=0.2, random_state=0, n_jobs=1)
        from xgboost import XGBClassifier

        return XGBClassifier(
            n_estimators=self.trees, max_depth=self.depth, learning_rate=0.3, subsample=0.8, colsample_bytree=0.5,
            tree_method="hist", n_jobs=1, random_state=0,
        )  # fmt: skip


def passed_on(table: npt.NDArray[Any], bias: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return table and bias of a linear model that passes the facts on, too, as `decision_features` does."""
    through = np.zeros((BUCKETS, FACT_COUNT), np.float32)
    through[FACT_COLUMNS, np.arange(FACT_COUNT)] = 1
    return np.concatenate([table, through], axis=1), np.concatenate([bias, np.zeros(FACT_COUNT, np.float32)])


def _beside(logits: npt.NDArray[Any], rows: SparseRows) -> npt.NDArray[np.float32]:
    facts = rows.matrix[:, FACT_COLUMNS].toarray()
    return np.concatenate([np.asarray(logits), facts], axis=1).astype(np.float32)
