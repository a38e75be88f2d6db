from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

from training.export.onnx_graph import chained, finished, graph_of, linear_bag, select_columns, side_by_side

WIDTH = 6
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(400, WIDTH)).astype(np.float32)
TARGET = (ROWS[:, 0] + ROWS[:, 1] * ROWS[:, 2] + RNG.normal(0, 0.3, 400) > 0.2).astype(int)
UNSEEN = np.concatenate([RNG.normal(size=(300, WIDTH)), np.eye(WIDTH) * 1e6, np.zeros((1, WIDTH))]).astype(np.float32)


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(20, max_depth=6, random_state=0)


def boosted() -> GradientBoostingClassifier:
    return GradientBoostingClassifier(n_estimators=20, max_depth=3, random_state=0)


CLASSIFIERS = {
    "forest": forest(),
    "gradient boosting": boosted(),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=20, random_state=0),
    "linear": make_pipeline(RobustScaler(), LogisticRegression()),
    "imputed forest": make_pipeline(SimpleImputer(strategy="median"), forest()),
    "calibrated forest": CalibratedClassifierCV(forest(), method="sigmoid", cv=3),
    "weighted vote": VotingClassifier(
        [("forest", forest()), ("boosted", boosted())],
        voting="soft",
        weights=np.array([0.6, 0.4]),
        flatten_transform=False,
    ),
}


def answer(content: bytes, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_as_it_did(name: str) -> None:
    estimator = CLASSIFIERS[name].fit(ROWS, TARGET)
    [probabilities] = answer(finished(graph_of(estimator, WIDTH)), features=UNSEEN).values()
    expected = estimator.predict_proba(UNSEEN)
    assert np.abs(probabilities - expected).max() <= 1e-5
    assert (probabilities.argmax(1) == expected.argmax(1)).all()


def test_missing_values_are_filled_in_as_in_training() -> None:
    holes = ROWS.copy()
    holes[RNG.random(holes.shape) < 0.2] = np.nan
    estimator = make_pipeline(SimpleImputer(strategy="median"), forest()).fit(holes, TARGET)
    [probabilities] = answer(finished(graph_of(estimator, WIDTH)), features=holes).values()
    assert np.abs(probabilities - estimator.predict_proba(holes)).max() <= 1e-5


def test_regressors_answer_as_they_did_side_by_side() -> None:
    boosting = HistGradientBoostingRegressor(max_iter=20, random_state=0).fit(ROWS, ROWS[:, 0])
    network = make_pipeline(RobustScaler(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=2000, random_state=0))
    network.fit(ROWS, ROWS[:, 1])
    graph = side_by_side({"boosting": graph_of(boosting, WIDTH), "network": graph_of(network, WIDTH)})
    got = answer(finished(graph), features=UNSEEN[:300])
    assert np.abs(got["boosting"][:, 0] - boosting.predict(UNSEEN[:300])).max() <= 1e-5
    assert np.abs(got["network"][:, 0] - network.predict(UNSEEN[:300])).max() <= 1e-5


def test_a_graph_reads_the_columns_it_was_given() -> None:
    columns = [4, 0, 2]
    estimator = forest().fit(ROWS[:, columns], TARGET)
    [probabilities] = answer(finished(select_columns(graph_of(estimator, 3), columns, WIDTH)), features=UNSEEN).values()
    assert np.abs(probabilities - estimator.predict_proba(UNSEEN[:, columns])).max() <= 1e-5


def test_a_bag_is_a_linear_model_on_hashed_text_and_can_be_built_upon() -> None:
    table, bias = RNG.normal(size=(64, 3)), RNG.normal(size=3)
    indices, weights = RNG.integers(0, 64, (5, 7)), RNG.random((5, 7)).astype(np.float32)
    weights[:, 5:] = 0  # padding
    raw = (table[indices] * weights[..., None]).sum(1) + bias
    [probabilities] = answer(finished(linear_bag(table, bias)), indices=indices, weights=weights).values()
    expected = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
    assert np.abs(probabilities - expected).max() <= 1e-5
    estimator = LogisticRegression().fit(ROWS[:, :3], TARGET)
    graph = finished(chained(linear_bag(table, bias, "Identity"), graph_of(estimator, 3)))
    [chained_answer] = answer(graph, indices=indices, weights=weights).values()
    assert np.abs(chained_answer - estimator.predict_proba(raw)).max() <= 1e-5


def test_equal_estimators_give_equal_bytes_that_name_no_machine() -> None:
    first, second = (finished(graph_of(forest().fit(ROWS, TARGET), WIDTH)) for _ in range(2))
    assert first == second
    assert str(Path.home()).encode() not in first
    assert onnx.load_from_string(first).producer_name == ""


def test_what_cannot_be_converted_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a classifier"):
        graph_of(RobustScaler().fit(ROWS), WIDTH)
