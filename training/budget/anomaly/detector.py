"""The anomaly detector: an isolation forest beside boosted trees, added up in log-odds and calibrated.

::

    repetition features ──boosted trees──▶ log-odds ─┐
    profile features ────boosted trees──▶ log-odds ──┼─ + ──▶ calibrated (Platt, 1999) ──▶ score
    ten of both ───────isolation forest──▶ strangeness ┘

No boosted tree reads features of both groups, so the log-odds are a sum of three parts, and what each of them does to
the score is exact, not an estimate. The trees can only rise with what makes a transaction odd (monotone constraints):
they cannot learn the injector's habits backwards. The isolation forest (Liu et al., 2008) has no labels; it is there
for anomalies of a kind that was not injected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from models.budget.anomaly_features import FEATURES, PARTS, PROFILE, REPETITION
from training.calibration import sigmoid
from training.export.onnx_graph import OPSETS, finished
from training.export.tree_graph import tree_node
from training.export.trees import LEAF, Trees, trees_of

Rows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

GROUPS: Final = {
    "repetition": [FEATURES.index(name) for name in REPETITION],
    "profile": [FEATURES.index(name) for name in PROFILE],
}

STRANGE: Final = (
    "twin", "gap_vs_usual", "day_shift", "burst", "burst_merchant", "amount_vs_merchant", "amount_vs_highest",
    "amount_vs_user", "merchant_similarity", "new_words",
)  # fmt: skip
"""What the isolation forest reads: features whose rarity means something. It finds any rarity: a weekend, too."""

_STRANGE_COLUMNS = [FEATURES.index(name) for name in STRANGE]

_RISING = (
    "twin", "burst", "burst_merchant", "amount_vs_merchant", "amount_vs_highest", "amount_vs_user", "merchant_new",
    "new_words",
)  # fmt: skip
_FALLING = ("repeat_habit", "amount_rank", "merchant_similarity")


@dataclass(frozen=True)
class Answers:
    """What the detector says of N rows.

    Attributes
    ----------
    score
        float64 [N, 1], calibrated: of transactions that score 0.8, eight in ten were injected.
    without
        float64 [N, 3], the score if a part (`PARTS`) were as on a usual transaction.
    """

    score: Floats
    without: Floats


@dataclass(frozen=True)
class Detector:
    """Fitted estimators and how they add up.

    Attributes
    ----------
    boosted
        `HistGradientBoostingClassifier` whose trees keep within `GROUPS`.
    forest
        `IsolationForest` on the columns `STRANGE`.
    usual
        float32 [F], medians of unmarked transactions: where a part counts for nothing.
    middle, spread
        Mean and standard deviation of the forest's score on training rows.
    weight
        What one standard deviation of it adds to the log-odds, before calibration.
    slope, intercept
        The calibration: ``slope * log-odds + intercept``.
    """

    boosted: Any
    forest: Any
    usual: Rows
    middle: float
    spread: float
    weight: float
    slope: float = 1.0
    intercept: float = 0.0

    def log_odds(self, rows: Rows) -> Floats:
        """Return the calibrated log-odds of float32 rows [N, F], float64 [N]."""
        boosted: Floats = self.boosted.decision_function(rows)
        return self.slope * (boosted + self._weigh(rows)) + self.intercept

    def answers(self, rows: Rows) -> Answers:
        """Answer float32 rows [N, F] from the estimators themselves: what the graph is held to."""
        total, boosted = self.log_odds(rows), self.boosted.decision_function(rows)
        parts = []
        for columns in GROUPS.values():
            usual = rows.copy()
            usual[:, columns] = self.usual[columns]
            parts.append(boosted - self.boosted.decision_function(usual))
        parts.append(self._weigh(rows) - self._weigh(self.usual[None]))
        return Answers(sigmoid(total)[:, None], sigmoid(total[:, None] - self.slope * np.stack(parts, axis=1)))

    def graph(self) -> bytes:
        """Return all of it as ONNX: ``features`` [batch, F] to ``score`` [batch, 1] and ``without`` [batch, 3].

        The boosted trees become one operator of two sums, each tree's leaves adding to its group's.
        """
        trees, forest = _by_group(trees_of(self.boosted)), trees_of(self.forest)
        # the forest counts its features among its own columns; the graph's are all of them
        inner = forest.feature != LEAF
        columns = np.where(inner, np.array(_STRANGE_COLUMNS)[np.maximum(forest.feature, 0)], LEAF)
        forest = Trees(**{**forest.__dict__, "feature": columns})
        usual = self.usual[None]
        per_spread = self.weight / self.spread
        base = float(self.boosted.decision_function(usual)[0] + self._weigh(usual)[0])
        constants = {
            "usual_sums": trees.sums(usual),  # (1, 2)
            "usual_strangeness": self.strangeness(usual)[None],  # (1, 1)
            "slope": np.array([[self.slope] * 2]),
            "strange_slope": np.array([[self.slope * per_spread]]),
            "base": np.array([[self.slope * base + self.intercept]]),
            "halving": np.array([-np.log(2.0)]),
            "last": np.array([1], np.int64),
        }
        nodes = [
            tree_node(trees, "sums"),
            helper.make_node("Sub", ["sums", "usual_sums"], ["above"]),
            helper.make_node("Mul", ["above", "slope"], ["boosted"]),
            tree_node(forest, "paths"),
            helper.make_node("Mul", ["paths", "halving"], ["exponents"]),
            helper.make_node("Exp", ["exponents"], ["strange"]),
            helper.make_node("Sub", ["strange", "usual_strangeness"], ["stranger"]),
            helper.make_node("Mul", ["stranger", "strange_slope"], ["strangeness"]),
            helper.make_node("Concat", ["boosted", "strangeness"], ["parts"], axis=1),
            helper.make_node("ReduceSum", ["parts", "last"], ["summed"], keepdims=1),
            helper.make_node("Add", ["summed", "base"], ["log_odds"]),
            helper.make_node("Sub", ["log_odds", "parts"], ["less"]),
            helper.make_node("Sigmoid", ["log_odds"], ["score"]),
            helper.make_node("Sigmoid", ["less"], ["without"]),
        ]
        made = helper.make_graph(
            nodes,
            "marina",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", len(FEATURES)])],
            [
                helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 1]),
                helper.make_tensor_value_info("without", TensorProto.FLOAT, ["batch", len(PARTS)]),
            ],
            [numpy_helper.from_array(_single(array), name) for name, array in constants.items()],
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in sorted(OPSETS.items())]
        return finished(helper.make_model(made, opset_imports=opsets, ir_version=10))

    def scores(self, rows: Rows) -> Floats:
        """Return the calibrated score of float32 rows [N, F], float64 [N]."""
        return sigmoid(self.log_odds(rows))

    def strangeness(self, rows: Rows) -> Floats:
        """Return the isolation forest's own score of float32 rows [N, F], float64 [N]; higher is stranger."""
        score: Floats = -self.forest.score_samples(rows[:, _STRANGE_COLUMNS])
        return score

    def _weigh(self, rows: Rows) -> Floats:
        return self.weight * (self.strangeness(rows) - self.middle) / self.spread


def additive(trial: Any, seed: int = 0) -> Any:
    """Return the boosted trees that keep to one group each; `trial` suggests their hyper-parameters."""
    return _boosted(trial, seed, interaction_cst=[set(columns) for columns in GROUPS.values()], monotonic_cst=_signs())


def unconstrained(trial: Any, seed: int = 0) -> Any:
    """Return boosted trees that may do anything: what explaining exactly is compared with."""
    return _boosted(trial, seed)


def linear(trial: Any) -> Any:
    """Return a logistic regression on the features: the plain baseline with labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    strength = trial.suggest_float("C", 0.01, 10, log=True)
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))


def isolation_forest(rows: Rows, seed: int = 0) -> Any:
    """Fit the isolation forest, without labels."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=100, max_samples=min(512, len(rows)), random_state=seed)
    return forest.fit(rows[:, _STRANGE_COLUMNS])


def _boosted(trial: Any, seed: int, **constraints: Any) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=trial.suggest_int("trees", 80, 300),
        learning_rate=trial.suggest_float("learning_rate", 0.02, 0.2, log=True),
        max_leaf_nodes=trial.suggest_int("leaves", 4, 24),
        min_samples_leaf=trial.suggest_int("rows_per_leaf", 20, 200, log=True),
        l2_regularization=trial.suggest_float("l2", 0.1, 30, log=True),
        early_stopping=False,
        random_state=seed,
        **constraints,
    )


def _signs() -> list[int]:
    return [(name in _RISING) - (name in _FALLING) for name in FEATURES]


def _by_group(trees: Trees) -> Trees:
    """Let each tree add to its group's sum: two targets in the order of `GROUPS`."""
    tree = np.searchsorted(trees.roots, np.arange(len(trees.feature)), side="right") - 1
    profile = np.zeros(len(trees.roots), bool)
    inner = trees.feature != LEAF
    profile[tree[inner][np.isin(trees.feature[inner], GROUPS["profile"])]] = True
    target = profile[tree[trees.leaf]].astype(np.int64)
    return Trees(**{**trees.__dict__, "target": target, "base": np.zeros(2)})


def _single(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array if array.dtype == np.int64 else array.astype(np.float32)
