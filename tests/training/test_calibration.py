import numpy as np
import numpy.typing as npt
import pytest

from models.probabilities import softmax
from training.calibration import Floats, Nesting, VectorScaling
from training.evaluation.reliability import calibration_error, first_choice


def said(rows: int, classes: int = 4, seed: int = 0) -> tuple[Floats, npt.NDArray[np.int64], Floats]:
    """Classes drawn from known probabilities, and scores that are those probabilities' logits, distorted per class."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(0, 2, (rows, classes))
    target = (softmax(logits).cumsum(axis=1) > chance.random((rows, 1))).argmax(axis=1)
    return logits / np.linspace(2, 4, classes) - np.linspace(0, 1, classes), target, softmax(logits)


def test_calibrated_probabilities_are_the_true_ones() -> None:
    scores, target, _ = said(6000)
    fresh, _, fresh_truth = said(2000, seed=1)
    calibrated = VectorScaling.fit(scores, target)
    assert np.abs(softmax(fresh) - fresh_truth).mean() > 0.1
    assert np.abs(calibrated(fresh) - fresh_truth).mean() < 0.02
    after, before = (calibration_error(*first_choice(one, target)) for one in (calibrated(scores), softmax(scores)))
    assert after < 0.03 < before


def test_the_probabilities_are_the_softmax_of_the_logits() -> None:
    scores, target, _ = said(300)
    calibrated = VectorScaling.fit(scores, target)
    assert calibrated(scores) == pytest.approx(softmax(calibrated.logits(scores)))
    assert calibrated(scores).sum(axis=1) == pytest.approx(1)


def test_a_class_that_never_occurs_does_not_break_the_fit() -> None:
    scores, target, _ = said(200)
    calibrated = VectorScaling.fit(scores[target != 3], target[target != 3])
    assert np.isfinite(calibrated.slope).all() and np.isfinite(calibrated(scores)).all()


def test_the_same_scores_calibrate_the_same_way() -> None:
    first, second = (VectorScaling.fit(*said(300)[:2]) for _ in range(2))
    assert first.slope.tolist() == second.slope.tolist()


def test_softmax_bears_large_logits() -> None:
    assert softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])).tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_probabilities_of_nested_events_become_the_nearest_that_rise() -> None:
    from sklearn.isotonic import IsotonicRegression

    chance = np.random.default_rng(0)
    groups = [[0, 1, 2, 3], [7, 5, 6], [8, 9]]
    stated = chance.random((200, 10))
    rising = Nesting.of(groups, 10)(stated)
    for group in groups:
        nearest = [IsotonicRegression().fit_transform(np.arange(len(group)), row[group]) for row in stated]
        np.testing.assert_allclose(rising[:, group], nearest)
        assert (np.diff(rising[:, group], axis=1) >= 0).all()
    np.testing.assert_array_equal(rising[:, 4], stated[:, 4])  # in no group


def test_what_rises_already_is_left_as_it_is() -> None:
    stated = np.sort(np.random.default_rng(0).random((50, 4)), axis=1)
    np.testing.assert_allclose(Nesting.of([[0, 1, 2, 3]], 4)(stated), stated)


def test_nesting_never_grows_the_squared_error_of_nested_events() -> None:
    chance = np.random.default_rng(1)
    stated = chance.random((500, 4))
    truth = np.arange(4) >= chance.integers(0, 5, (500, 1))  # what happens, happens within every longer horizon
    error, nested = (((p - truth) ** 2).sum(axis=1) for p in (stated, Nesting.of([[0, 1, 2, 3]], 4)(stated)))
    assert (nested <= error + 1e-12).all() and nested.mean() < error.mean()
