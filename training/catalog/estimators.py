"""What can learn a product's code from its bag of n-grams: linear models, or trees on a projection of the bag.

All take float32 CSR [N, vocabulary] and answer scores [N, codes], of which higher means likelier. Each comes apart into
what a graph is made of: a table that a bag sums up, and perhaps trees.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning

from training.export.trees import trees_of

Floats = npt.NDArray[np.floating[Any]]

STEPS: Final = 1000
"""Most passes of a linear model; those that need more gain nothing by them."""


class LinearScores(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A weight per n-gram and code.

    Parameters
    ----------
    loss
        "hinge": a support vector machine per code, squared hinge loss. "log": softmax regression.
    strength
        Inverse of the ridge penalty.
    balance
        How far rare codes count more: 0 by their number of products, 1 all codes alike.
    """

    def __init__(self, loss: str = "hinge", strength: float = 0.5, balance: float = 1.0) -> None:
        self.loss = loss
        self.strength = strength
        self.balance = balance

    def fit(self, rows: Any, codes: npt.NDArray[Any]) -> LinearScores:
        """Fit on CSR [N, vocabulary] and codes [N]."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import LinearSVC

        self.classes_, target = np.unique(codes, return_inverse=True)
        weights = class_weights(target, self.balance)
        if self.loss == "hinge":
            model = LinearSVC(C=self.strength, class_weight=weights, max_iter=STEPS, random_state=0)
        else:
            model = LogisticRegression(C=self.strength, class_weight=weights, max_iter=60)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early, which regularises, too
            model.fit(rows, target)
        table, bias = model.coef_.T, model.intercept_
        if len(self.classes_) == 2:  # scikit-learn keeps one column of two
            table, bias = np.concatenate([-table, table], axis=1), np.concatenate([-bias, bias])
        self.table_ = table.astype(np.float32)  # [vocabulary, codes]
        self.bias_ = bias.astype(np.float64)
        return self

    def decision_function(self, rows: Any) -> npt.NDArray[np.float64]:
        """Return scores [N, codes]."""
        sums = np.asarray(rows.astype(np.float64) @ self.table_.astype(np.float64))
        scores: npt.NDArray[np.float64] = sums + self.bias_
        return scores

    def predict(self, rows: Any) -> npt.NDArray[Any]:
        """Return the code of each row, [N]."""
        codes: npt.NDArray[Any] = self.classes_[self.decision_function(rows).argmax(axis=1)]
        return codes


class BoostedProjection(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Gradient-boosted trees (xgboost) on a projection of the bag by its largest singular vectors.

    A projected bag is a sum of embeddings (latent semantic analysis, Deerwester et al., 1990), so that the graph
    computes it as it computes a linear model.

    Parameters
    ----------
    dimensions
        Of the projection.
    rounds
        Trees per code.
    depth
        Of a tree.
    rate
        Learning rate.
    balance
        As of `LinearScores`.
    """

    def __init__(
        self, dimensions: int = 48, rounds: int = 20, depth: int = 4, rate: float = 0.3, balance: float = 0.5
    ) -> None:
        self.dimensions = dimensions
        self.rounds = rounds
        self.depth = depth
        self.rate = rate
        self.balance = balance

    def fit(self, rows: Any, codes: npt.NDArray[Any]) -> BoostedProjection:
        """Fit on CSR [N, vocabulary] and codes [N]."""
        from sklearn.decomposition import TruncatedSVD
        from xgboost import XGBClassifier

        self.classes_, target = np.unique(codes, return_inverse=True)
        most = min(rows.shape) - 1
        svd = TruncatedSVD(max(1, min(self.dimensions, most)), random_state=0).fit(rows)
        self.table_ = svd.components_.T.astype(np.float32)  # [vocabulary, dimensions]
        weights = class_weights(target, self.balance)
        model = XGBClassifier(
            n_estimators=self.rounds, max_depth=self.depth, learning_rate=self.rate, subsample=0.8,
            colsample_bytree=0.5, tree_method="hist", n_jobs=1, random_state=0,
        )  # fmt: skip
        model.fit(self.projected(rows), target, sample_weight=np.array([weights[code] for code in target.tolist()]))
        self.model_, self.trees_ = model, trees_of(model)
        if self.trees_.targets == 1:  # xgboost keeps one score of two codes: half of it speaks for one, half against
            one, halves = self.trees_, np.array([-0.5, 0.5])
            self.trees_ = replace(
                one,
                leaf=np.repeat(one.leaf, 2),
                target=np.tile([0, 1], len(one.leaf)),
                value=np.outer(one.value, halves).ravel(),
                base=one.base * halves,
            )
        return self

    def projected(self, rows: Any) -> npt.NDArray[np.float32]:
        """Return what the trees read, [N, dimensions].

        Added up in double precision, here as in the graph: a tree asks on which side of a number a sum is, and two
        ways to add up in single precision would disagree about it now and then.
        """
        sums: npt.NDArray[np.float64] = np.asarray(rows.astype(np.float64) @ self.table_.astype(np.float64))
        return sums.astype(np.float32)

    def decision_function(self, rows: Any) -> npt.NDArray[np.float64]:
        """Return scores [N, codes]."""
        return self.trees_.sums(self.projected(rows))

    def predict(self, rows: Any) -> npt.NDArray[Any]:
        """Return the code of each row, [N]."""
        codes: npt.NDArray[Any] = self.classes_[self.decision_function(rows).argmax(axis=1)]
        return codes


def class_weights(codes: npt.NDArray[Any], balance: float) -> dict[Any, float]:
    """Return what a product of each code counts: its code's rarity to the power of `balance`."""
    names, counts = np.unique(codes, return_counts=True)
    weights = (len(codes) / (len(names) * counts)) ** balance
    return dict(zip(names.tolist(), weights.tolist(), strict=True))
