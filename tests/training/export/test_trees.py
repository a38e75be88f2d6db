from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

from training.calibration import PlattScaling
from training.export.onnx_graph import finished
from training.export.tree_graph import Link, Voter, vote
from training.export.trees import _round_down, stacked, trees_of

WIDTH = 7


def table(
    classes: int = 2, seed: int = 0, missing: float = 0.0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    rows, target = make_classification(
        400, WIDTH, n_informative=4, n_classes=classes, n_clusters_per_class=1, random_state=seed
    )
    rows = rows.astype(np.float32)
    rows[:, 0] = np.round(rows[:, 0])  # ties: many rows stand exactly where a threshold may
    rows[np.random.default_rng(seed).random(rows.shape) < missing] = np.nan
    return rows, target


def probing(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows unlike those of training: extremes, zeros, and each feature missing in some."""
    far = np.vstack([rows * 50, np.zeros_like(rows[:3]), rows[:100]])
    far[-100:][np.random.default_rng(1).random((100, WIDTH)) < 0.4] = np.nan
    return far


def run(graph: Any, rows: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(finished(graph), options, providers=["CPUExecutionProvider"])
    answers: list[npt.NDArray[Any]] = session.run(None, {"features": rows})
    return answers


def sigmoid(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    answer: npt.NDArray[Any] = 1 / (1 + np.exp(-x))
    return answer


def softmax(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    raised = np.exp(x - x.max(axis=1, keepdims=True))
    answer: npt.NDArray[Any] = raised / raised.sum(axis=1, keepdims=True)
    return answer


FORESTS = {
    "tree": DecisionTreeClassifier(max_depth=6, random_state=0),
    "random forest": RandomForestClassifier(20, max_depth=10, random_state=0),
    "balanced forest": RandomForestClassifier(10, class_weight="balanced_subsample", random_state=0),
    "extra trees": ExtraTreesClassifier(10, random_state=0),
}
BOOSTED = {
    "gradient boosting": GradientBoostingClassifier(n_estimators=20, random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=5),
    "xgboost": XGBClassifier(n_estimators=20, max_depth=4, n_jobs=1),
}


TAKES_NO_MISSING_VALUES = "gradient boosting"
CASES = [
    (name, classes, missing)
    for name in (*FORESTS, *BOOSTED)
    for classes in (2, 3)
    for missing in (0.0, 0.2)
    if not (missing and name == TAKES_NO_MISSING_VALUES)
]


@pytest.mark.parametrize(("name", "classes", "missing"), CASES)
def test_trees_answer_as_the_classifier_they_come_from(name: str, classes: int, missing: float) -> None:
    estimator = {**FORESTS, **BOOSTED}[name]
    rows, target = table(classes, missing=missing)
    estimator = estimator.__class__(**estimator.get_params()).fit(rows, target)
    asked = rows * 50 if name == TAKES_NO_MISSING_VALUES else probing(rows)
    expected = estimator.predict_proba(asked)
    link: Link = "Identity" if name in FORESTS else "Sigmoid" if classes == 2 else "Softmax"
    trees = trees_of(estimator)
    walked = {"Identity": lambda x: x, "Sigmoid": sigmoid, "Softmax": softmax}[link](trees.sums(asked))
    np.testing.assert_allclose(walked, expected[:, 1:] if classes == 2 else expected, atol=1e-6)
    [answered] = run(vote([Voter(trees, link)], WIDTH, both_classes=classes == 2), asked)
    np.testing.assert_allclose(answered, expected, atol=2e-6)
    two = np.sort(expected, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] > 1e-5  # a small forest can be of exactly two minds
    np.testing.assert_array_equal(answered.argmax(axis=1)[clear], expected.argmax(axis=1)[clear])


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestRegressor(15, random_state=0),
        GradientBoostingRegressor(n_estimators=15, random_state=0),
        HistGradientBoostingRegressor(max_iter=15, min_samples_leaf=5),
        XGBRegressor(n_estimators=15, n_jobs=1),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_trees_answer_as_the_regressor_they_come_from(estimator: Any) -> None:
    rows, _ = table()
    estimator.fit(rows, rows[:, 1] * 3 + rows[:, 2] ** 2)
    [answered] = run(vote([Voter(trees_of(estimator))], WIDTH, output="value"), rows)
    np.testing.assert_allclose(answered[:, 0], estimator.predict(rows), atol=1e-4)


@pytest.mark.parametrize("max_features", [1.0, 0.5])
def test_trees_answer_as_the_isolation_forest_they_come_from(max_features: float) -> None:
    rows, _ = table()
    forest = IsolationForest(n_estimators=25, max_features=max_features, random_state=0).fit(rows)
    [answered] = run(vote([Voter(trees_of(forest), "Halving")], WIDTH, output="score"), rows * 2)
    np.testing.assert_allclose(answered[:, 0], -forest.score_samples(rows * 2), atol=1e-5)


def test_many_ensembles_in_one_operator_answer_as_each_alone() -> None:
    rows, _ = table(missing=0.1)
    targets = np.nan_to_num(rows[:, :5]) > 0.3
    forests = [RandomForestClassifier(10, max_depth=5, random_state=k).fit(rows, targets[:, k]) for k in range(5)]
    boosted = [HistGradientBoostingClassifier(max_iter=10).fit(rows, targets[:, k]) for k in range(5)]
    calibration = PlattScaling(np.linspace(0.7, 1.4, 5), np.linspace(-0.5, 0.5, 5))
    graph = vote(
        [
            Voter(stacked([trees_of(one) for one in forests]), weight=0.6),
            Voter(stacked([trees_of(one) for one in boosted]), "Sigmoid", weight=0.4),
        ],
        WIDTH,
        calibration=calibration,
        spread=True,
    )
    assert [node.op_type for node in graph.graph.node].count("TreeEnsembleRegressor") == 2
    asked = probing(rows)
    by_forests, by_boosted = (
        np.stack([one.predict_proba(asked)[:, 1] for one in kind], axis=1) for kind in (forests, boosted)
    )
    probabilities, spread = run(graph, asked)
    np.testing.assert_allclose(probabilities, calibration(0.6 * by_forests + 0.4 * by_boosted), atol=2e-6)
    np.testing.assert_allclose(spread, np.abs(by_forests - by_boosted), atol=2e-6)


def test_a_batch_answers_as_each_row_alone() -> None:
    rows, target = table()
    graph = vote([Voter(trees_of(RandomForestClassifier(30, random_state=0).fit(rows, target)))], WIDTH)
    [together] = run(graph, rows[:50])
    alone = np.concatenate([run(graph, row[None])[0] for row in rows[:50:10]])
    np.testing.assert_allclose(together[::10], alone, atol=1e-6)


def test_early_stopped_rounds_are_left_out() -> None:
    rows, target = table()
    stopped = XGBClassifier(n_estimators=200, early_stopping_rounds=3, n_jobs=1)
    stopped.fit(rows[:200], target[:200], eval_set=[(rows[200:], target[200:])], verbose=False)
    trees = trees_of(stopped)
    assert len(trees.roots) == stopped.best_iteration + 1 < 200
    np.testing.assert_allclose(sigmoid(trees.sums(rows))[:, 0], stopped.predict_proba(rows)[:, 1], atol=1e-6)


@given(st.floats(-(2.0**100), 2.0**100), st.floats(-(2.0**100), 2.0**100, width=32))
@settings(max_examples=300, deadline=None)
def test_a_threshold_rounded_down_asks_the_same_of_every_float32(threshold: float, x: float) -> None:
    rounded = _round_down(np.array([threshold]))[0]
    for value in (np.float32(x), np.float32(threshold), np.nextafter(np.float32(threshold), np.float32(np.inf))):
        assert (np.float64(value) <= threshold) == (value <= rounded)


def test_what_is_no_sum_of_trees_is_refused() -> None:
    rows, target = table()
    with pytest.raises(TypeError, match="expected a tree ensemble"):
        trees_of(LogisticRegression().fit(rows, target))
    with pytest.raises(TypeError, match="one output"):
        trees_of(RandomForestClassifier(2).fit(rows, np.stack([target, target], axis=1)))
    own = GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(rows, target)
    with pytest.raises(TypeError, match="starts from a constant"):
        trees_of(own)
    with pytest.raises(ValueError, match="as many targets"):
        one = trees_of(DecisionTreeClassifier().fit(rows, target))
        vote([Voter(one), Voter(stacked([one, one]))], WIDTH)
