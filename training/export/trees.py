"""Fitted tree ensembles, taken apart into sums of trees: many estimators can then be one operator of one graph.

What scikit-learn and xgboost call forests and boosted trees differ in training alone. Once fitted, each is a sum over
trees: a leaf adds its value to a target, and the sum is a probability (forests), a log-odds (boosting), a mean
(regressors) or a path's length (isolation forests). `trees_of` brings any of them to that one form, `stacked` puts the
targets of several side by side, and `training.export.tree_graph` writes the result as ONNX.

A row goes through exactly the leaves it would go through in the estimator: for numbers of type float32, ``x <= t`` in
double precision is the same question as ``x <= t'`` in single precision, where t' is t rounded down.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
LEAF = -1


@dataclass(frozen=True)
class Trees:
    """Trees whose leaves' values add up, flattened: positions below are those of nodes.

    Attributes
    ----------
    feature
        int64 [nodes]: which feature a node looks at; `LEAF` at a leaf.
    threshold
        float32 [nodes]: rows with ``x <= threshold`` go left.
    left, right
        int64 [nodes]: positions of the children; 0 at a leaf.
    missing_left
        bool [nodes]: whether NaN goes left.
    roots
        int64 [trees]: where each tree begins; its nodes follow, up to the next root.
    leaf, target, value
        int64, int64, float64 [entries]: a row that reaches `leaf` gets `value` added to `target`; sorted by leaf.
    base
        float64 [targets]: what each sum begins with.
    """

    feature: Ints
    threshold: npt.NDArray[np.float32]
    left: Ints
    right: Ints
    missing_left: npt.NDArray[np.bool_]
    roots: Ints
    leaf: Ints
    target: Ints
    value: Floats
    base: Floats

    @property
    def targets(self) -> int:
        """How many sums there are."""
        return len(self.base)

    def scaled(self, weight: float) -> Trees:
        """Return the same trees with every sum multiplied by a weight."""
        return replace(self, value=self.value * weight, base=self.base * weight)

    def sums(self, features: npt.NDArray[np.float32]) -> Floats:
        """Walk the trees in numpy: what the graph computes, for tests and small batches.

        Parameters
        ----------
        features
            float32 [N, features].

        Returns
        -------
        ndarray
            float64 [N, targets].
        """
        rows = np.arange(len(features))[:, None]
        at = np.tile(self.roots, (len(features), 1))  # (N, trees)
        while (inner := self.feature[at] != LEAF).any():
            x = features[rows, np.maximum(self.feature[at], 0)]
            left = (x <= self.threshold[at]) | (np.isnan(x) & self.missing_left[at])
            at = np.where(inner, np.where(left, self.left[at], self.right[at]), at)
        sums = np.tile(self.base, (len(features), 1))
        starts, ends = np.searchsorted(self.leaf, at), np.searchsorted(self.leaf, at, side="right")
        for offset in range(int((ends - starts).max(initial=0))):  # once, unless leaves speak of several targets
            entry = np.minimum(starts + offset, len(self.leaf) - 1)
            value = np.where(starts + offset < ends, self.value[entry], 0.0)
            np.add.at(sums, (np.broadcast_to(rows, at.shape), self.target[entry]), value)
        return sums


def trees_of(estimator: Any) -> Trees:
    """Take a fitted estimator apart.

    Parameters
    ----------
    estimator
        A decision tree, random forest, extra trees, gradient boosting (either of scikit-learn's, or xgboost's tree
        boosters) for classes or numbers, or an IsolationForest. One output; no categorical splits.

    Returns
    -------
    Trees
        Targets are: P(second class) of a forest for two classes, P(class) of each for more; the raw score of boosting
        (log-odds of the second class, or one score a class, before the softmax); the value of a regressor; the
        expected share of an isolation forest's path, of which ``2 ** -x`` is the score (higher is stranger).

    Raises
    ------
    TypeError
        If it is anything else, or not of a kind that is exact here.
    """
    for kind in type(estimator).__mro__:
        if reader := _READERS.get(kind.__name__):
            return reader(estimator)
    raise TypeError(f"expected a tree ensemble of scikit-learn or xgboost, got {type(estimator).__name__}")


def stacked(parts: Sequence[Trees]) -> Trees:
    """Return the trees of several ensembles with their targets side by side, in order."""
    return _join(parts, np.cumsum([0, *(part.targets for part in parts)])[:-1].tolist(), [part.base for part in parts])


def _sum(parts: Sequence[Trees], base: npt.ArrayLike) -> Trees:
    """Return the trees of several parts that add to the same targets."""
    return _join(parts, [0] * len(parts), [np.atleast_1d(np.asarray(base, np.float64))])


def _join(parts: Sequence[Trees], shifts: Sequence[int], bases: Sequence[Floats]) -> Trees:
    starts = np.cumsum([0, *(len(part.feature) for part in parts)])[:-1].tolist()
    moved = list(zip(parts, starts, strict=True))
    return Trees(
        feature=np.concatenate([part.feature for part in parts]),
        threshold=np.concatenate([part.threshold for part in parts]),
        left=np.concatenate([np.where(part.feature == LEAF, 0, part.left + start) for part, start in moved]),
        right=np.concatenate([np.where(part.feature == LEAF, 0, part.right + start) for part, start in moved]),
        missing_left=np.concatenate([part.missing_left for part in parts]),
        roots=np.concatenate([part.roots + start for part, start in moved]),
        leaf=np.concatenate([part.leaf + start for part, start in moved]),
        target=np.concatenate([part.target + shift for part, shift in zip(parts, shifts, strict=True)]),
        value=np.concatenate([part.value for part in parts]),
        base=np.concatenate(bases),
    )


def _single(
    threshold: npt.NDArray[Any],
    feature: npt.NDArray[Any],
    left: npt.NDArray[Any],
    right: npt.NDArray[Any],
    missing_left: npt.NDArray[Any],
    values: npt.NDArray[Any],
    targets: Sequence[int],
) -> Trees:
    """Return one tree; `feature` is `LEAF` at leaves, `values` [nodes, len(targets)] count there only."""
    leaf = np.flatnonzero(feature == LEAF)
    return Trees(
        feature=feature.astype(np.int64),
        threshold=_round_down(np.where(feature == LEAF, 0.0, threshold)),
        left=left.astype(np.int64),
        right=right.astype(np.int64),
        missing_left=missing_left.astype(bool),
        roots=np.zeros(1, np.int64),
        leaf=np.repeat(leaf, len(targets)),
        target=np.tile(np.asarray(targets, np.int64), len(leaf)),
        value=values[leaf].astype(np.float64).reshape(-1),
        base=np.zeros(max(targets) + 1),
    )


def _round_down(threshold: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the largest float32 numbers that are not above `threshold`."""
    nearest = threshold.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    rounded: npt.NDArray[np.float32] = np.where(nearest.astype(np.float64) > threshold, below, nearest)
    return rounded


def _sklearn_tree(
    tree: Any, values: npt.NDArray[Any], targets: Sequence[int], columns: npt.NDArray[Any] | None = None
) -> Trees:
    """Return a `sklearn.tree._tree.Tree` whose leaves add `values` [nodes, len(targets)]."""
    inner = tree.children_left >= 0
    feature = tree.feature if columns is None else columns[np.maximum(tree.feature, 0)]
    return _single(
        tree.threshold,
        np.where(inner, feature, LEAF),
        tree.children_left,
        tree.children_right,
        tree.missing_go_to_left,
        values,
        targets,
    )


def _forest(estimator: Any) -> Trees:
    """Return a tree or a forest: the mean over its trees of the classes' shares, or of the values, in a leaf."""
    if estimator.n_outputs_ != 1:
        raise TypeError(f"expected a forest with one output, got {estimator.n_outputs_}; fit one each and stack them")
    members = getattr(estimator, "estimators_", [estimator])
    parts = []
    for member in members:
        values = member.tree_.value[:, 0, :]  # (nodes, classes or 1)
        if hasattr(estimator, "classes_"):
            values = values / values.sum(axis=1, keepdims=True)
            values = values[:, 1:] if len(estimator.classes_) == 2 else values
        parts.append(_sklearn_tree(member.tree_, values / len(members), range(values.shape[1])))
    return _sum(parts, np.zeros(parts[0].targets))


def _gradient_boosting(estimator: Any) -> Trees:
    """Return scikit-learn's classical gradient boosting; its initial estimator must be a constant."""
    if estimator.init is not None and estimator.init != "zero":
        raise TypeError("expected gradient boosting that starts from a constant, got one with its own first estimator")
    base = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32))[0]
    parts = [
        _sklearn_tree(member.tree_, member.tree_.value[:, 0, :] * estimator.learning_rate, [target])
        for stage in estimator.estimators_
        for target, member in enumerate(stage)
    ]
    return _sum(parts, base)


def _hist_gradient_boosting(estimator: Any) -> Trees:
    """Return scikit-learn's histogram gradient boosting."""
    parts = []
    for stage in estimator._predictors:
        for target, predictor in enumerate(stage):
            nodes = predictor.nodes
            if nodes["is_categorical"].any():
                raise TypeError("expected splits of numbers, got categorical ones: encode the categories as numbers")
            parts.append(
                _single(
                    nodes["num_threshold"],
                    np.where(nodes["is_leaf"].astype(bool), LEAF, nodes["feature_idx"].astype(np.int64)),
                    nodes["left"],
                    nodes["right"],
                    nodes["missing_go_to_left"],
                    nodes["value"][:, None],
                    [target],
                )
            )
    return _sum(parts, estimator._baseline_prediction.reshape(-1))


def _isolation_forest(estimator: Any) -> Trees:
    """Return an isolation forest: how far a row comes, as a share of what is expected (Liu et al., 2008)."""
    sizes = len(estimator.estimators_) * _expected_path(np.array([estimator.max_samples_]))[0]
    parts = []
    for member, columns in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        tree = member.tree_
        depth = np.zeros(tree.node_count)
        for node in range(tree.node_count):  # parents come before their children
            if tree.children_left[node] >= 0:
                depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
        paths = (depth + _expected_path(tree.n_node_samples)) / sizes
        parts.append(_sklearn_tree(tree, paths[:, None], [0], np.asarray(columns)))
    return _sum(parts, 0.0)


def _expected_path(samples: npt.NDArray[Any]) -> Floats:
    """Return the mean depth of an unsuccessful search in a binary tree of that many samples."""
    n = samples.astype(np.float64)
    many = 2.0 * (np.log(np.maximum(n, 2) - 1) + np.euler_gamma) - 2.0 * (n - 1) / np.maximum(n, 1)
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, many))


def _xgboost(estimator: Any) -> Trees:
    """Return xgboost's boosted trees; they ask ``x < t``, which for float32 is ``x <=`` the next number below t."""
    learner = json.loads(estimator.get_booster().save_raw("json"))["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise TypeError(f"expected xgboost's gbtree, got {booster['name']}")
    kind = learner["objective"]["name"]
    base = np.array(json.loads(f"[{learner['learner_model_param']['base_score'].strip('[]')}]"), np.float64)
    if kind in ("binary:logistic", "reg:logistic"):
        base = np.log(base / (1 - base))
    elif kind not in ("multi:softprob", "reg:squarederror"):
        raise TypeError(f"expected probabilities or squared errors of xgboost, got the objective {kind}")
    # early stopping keeps the trees of later rounds, and leaves them out when predicting
    rounds = getattr(estimator, "best_iteration", None) if estimator.early_stopping_rounds else None
    model = booster["model"]
    kept = len(model["trees"]) if rounds is None else model["iteration_indptr"][rounds + 1]
    targets = max(model["tree_info"]) + 1
    parts = [
        _xgboost_tree(tree, int(target))
        for tree, target in zip(model["trees"][:kept], model["tree_info"], strict=False)
    ]
    return _sum(parts, np.broadcast_to(base, (targets,)))


def _xgboost_tree(tree: dict[str, Any], target: int) -> Trees:
    if tree.get("categories"):
        raise TypeError("expected splits of numbers, got categorical ones: encode the categories as numbers")
    inner = np.array(tree["left_children"]) >= 0
    conditions = np.array(tree["split_conditions"], np.float32)  # thresholds, and the values of leaves
    return _single(
        np.nextafter(conditions, np.float32(-np.inf)),
        np.where(inner, np.array(tree["split_indices"]), LEAF),
        np.array(tree["left_children"]),
        np.array(tree["right_children"]),
        np.array(tree["default_left"], bool),
        conditions[:, None],
        [target],
    )


def _names(*names: str) -> Iterator[str]:
    for name in names:
        yield from (f"{name}Classifier", f"{name}Regressor")


_READERS: dict[str, Callable[[Any], Trees]] = {
    **dict.fromkeys(_names("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees"), _forest),
    **dict.fromkeys(_names("GradientBoosting"), _gradient_boosting),
    **dict.fromkeys(_names("HistGradientBoosting"), _hist_gradient_boosting),
    **dict.fromkeys(("XGBClassifier", "XGBRegressor"), _xgboost),
    "IsolationForest": _isolation_forest,
}
