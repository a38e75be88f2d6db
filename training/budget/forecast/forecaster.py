"""The forecaster: three boosted ensembles for the 10th, 50th and 90th percentile, put in order and calibrated.

What each ensemble learns is how far a month ends from its first guess, in units of the series' noise
(`models.budget.forecast_features.Guess`), by the pinball loss (Koenker & Bassett, 1978). The interval is then stretched
until it holds what it says on households that were not trained on: conformalised quantile regression (Romano, Patterson
& Candès, 2019), each side by its own factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper
from sklearn.base import BaseEstimator, RegressorMixin

from models.budget.forecast_features import FEATURES
from training.budget.forecast.series import Asked
from training.export.onnx_graph import OPSETS, finished
from training.export.tree_graph import tree_node
from training.export.trees import stacked, trees_of

Rows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

QUANTILES: Final = (0.1, 0.5, 0.9)

NARROWEST: Final = 0.02
"""Half an interval is at least so wide, on the scale of `Guess.answers`, before it is stretched."""


class QuantileTrees(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """One histogram-boosted ensemble a quantile.

    The last column of what it is fitted to is each row's weight, so that it can be cross-validated like anything else.
    """

    def __init__(
        self,
        trees: int = 100,
        learning_rate: float = 0.08,
        leaves: int = 12,
        rows_per_leaf: int = 50,
        l2: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.trees = trees
        self.learning_rate = learning_rate
        self.leaves = leaves
        self.rows_per_leaf = rows_per_leaf
        self.l2 = l2
        self.seed = seed

    def fit(self, rows: npt.NDArray[Any], target: Floats) -> QuantileTrees:
        """Fit to float [N, F + 1] and [N]."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        # a feature that is never known (two years ago, of the first months) cannot be binned, nor is it split on
        features = np.where(np.isnan(rows[:, :-1]).all(axis=0), 0.0, rows[:, :-1])
        self.members_ = [
            HistGradientBoostingRegressor(
                loss="quantile",
                quantile=quantile,
                max_iter=self.trees,
                learning_rate=self.learning_rate,
                max_leaf_nodes=self.leaves,
                min_samples_leaf=self.rows_per_leaf,
                l2_regularization=self.l2,
                max_bins=64,  # as good on other households as 255, and binning rows with weights is a third of the work
                early_stopping=False,
                random_state=self.seed,
            ).fit(features, target, sample_weight=rows[:, -1])
            for quantile in QUANTILES
        ]
        return self

    def predict(self, rows: npt.NDArray[Any]) -> Floats:
        """Return the quantiles of float [N, F] (or [N, F + 1]), in order: float64 [N, 3]."""
        features = rows[:, : len(FEATURES)]
        return np.sort(np.stack([member.predict(features) for member in self.members_], axis=1), axis=1)


class LinearQuantiles(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """One linear model a quantile, on a sample of the rows: what the trees are compared with."""

    def __init__(self, alpha: float = 1e-4, most: int = 2000, seed: int = 0) -> None:
        self.alpha = alpha
        self.most = most
        self.seed = seed

    def fit(self, rows: npt.NDArray[Any], target: Floats) -> LinearQuantiles:
        """Fit to float [N, F + 1] and [N]; the linear programme's cost grows faster than the rows."""
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import QuantileRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        some = np.random.default_rng(self.seed).permutation(len(rows))[: self.most]
        self.prepare_ = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
        clean = self.prepare_.fit_transform(rows[some, :-1])
        self.members_ = [
            QuantileRegressor(quantile=quantile, alpha=self.alpha, solver="highs").fit(
                clean, target[some], sample_weight=rows[some, -1]
            )
            for quantile in QUANTILES
        ]
        return self

    def predict(self, rows: npt.NDArray[Any]) -> Floats:
        """Return the quantiles of float [N, F] (or [N, F + 1]), in order: float64 [N, 3]."""
        clean = self.prepare_.transform(rows[:, : len(FEATURES)])
        return np.sort(np.stack([member.predict(clean) for member in self.members_], axis=1), axis=1)


@dataclass(frozen=True)
class Forecaster:
    """Fitted ensembles and what calibrates their intervals.

    Attributes
    ----------
    trees
        `QuantileTrees`, fitted.
    below, above
        What the halves of the interval are stretched by.
    total
        What half the interval of a sum of categories is stretched by; its categories are taken to be independent.
    seasons
        By `training.budget.forecast.series.seasons_of`.
    """

    trees: Any
    below: float
    above: float
    total: float
    seasons: Mapping[str, Sequence[float]]

    def answers(self, rows: Rows) -> Floats:
        """Return the 10th, 50th and 90th percentile of float32 rows [N, F], on the scale of `Guess.answers`."""
        return stretched(self.trees.predict(rows), self.below, self.above)

    def euros(self, asked: Asked) -> Floats:
        """Return them as euros of the whole month, float64 [N, 3]."""
        return asked.guess.euros(self.answers(asked.guess.rows))

    def graph(self) -> bytes:
        """Return all of it as ONNX: ``features`` [batch, F] to ``quantiles`` [batch, 3]."""
        constants = {
            "three": np.array([3], np.int64),
            "second": np.array([1], np.int64),
            "sides": np.array([[-1, 0, 1]], np.float32),
            "narrowest": np.array([[NARROWEST, 0, NARROWEST]], np.float32),
            "stretch": np.array([[-self.below, 0, self.above]], np.float32),
        }
        nodes = [
            tree_node(stacked([trees_of(member) for member in self.trees.members_]), "raw"),
            helper.make_node("TopK", ["raw", "three"], ["ordered", "which"], axis=1, largest=0, sorted=1),
            helper.make_node("Gather", ["ordered", "second"], ["middle"], axis=1),
            helper.make_node("Sub", ["ordered", "middle"], ["off"]),
            helper.make_node("Mul", ["off", "sides"], ["halves"]),
            helper.make_node("Max", ["halves", "narrowest"], ["wide"]),
            helper.make_node("Mul", ["wide", "stretch"], ["moved"]),
            helper.make_node("Add", ["middle", "moved"], ["quantiles"]),
        ]
        made = helper.make_graph(
            nodes,
            "marina",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", len(FEATURES)])],
            [helper.make_tensor_value_info("quantiles", TensorProto.FLOAT, ["batch", len(QUANTILES)])],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in sorted(OPSETS.items())]
        return finished(helper.make_model(made, opset_imports=opsets, ir_version=10))


def stretched(ordered: Floats, below: float, above: float) -> Floats:
    """Return ordered quantiles [N, 3] with the halves of their intervals stretched."""
    middle = ordered[:, 1]
    down, up = (np.maximum(half, NARROWEST) for half in (middle - ordered[:, 0], ordered[:, 2] - middle))
    return np.stack([middle - below * down, middle, middle + above * up], axis=1)


def conformal(ordered: Floats, target: Floats) -> tuple[float, float]:
    """Return by how much each half has to be stretched for a tenth of the targets to lie beyond it.

    Parameters
    ----------
    ordered
        float64 [N, 3], quantiles of rows not trained on.
    target
        float64 [N].
    """
    middle, rank = ordered[:, 1], min(1.0, QUANTILES[2] * (1 + 1 / len(target)))
    below = (middle - target) / np.maximum(middle - ordered[:, 0], NARROWEST)
    above = (target - middle) / np.maximum(ordered[:, 2] - middle, NARROWEST)
    return max(0.0, float(np.quantile(below, rank))), max(0.0, float(np.quantile(above, rank)))


def weighted(asked: Asked) -> npt.NDArray[np.float64]:
    """Return features and weights float64 [N, F + 1]: what is at stake counts, but a rent not a hundred coffees."""
    return np.column_stack([asked.guess.rows, np.sqrt(asked.guess.noise)])


def pinball(estimator: Any, rows: npt.NDArray[Any], target: Floats) -> float:
    """Return the negative weighted pinball loss of rows [N, F + 1], over the three quantiles."""
    off = target[:, None] - estimator.predict(rows)
    levels = np.array(QUANTILES)
    return -float(np.average(np.maximum(levels * off, (levels - 1) * off).mean(axis=1), weights=rows[:, -1]))
