import numpy as np
import pytest

from handlers.base import softmax
from training.calibration import Calibration
from training.evaluate import calibration_error


def said(rows, classes=4, seed=0):
    """Classes drawn from known probabilities, and scores that are those probabilities' logits, distorted per class."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(0, 2, (rows, classes))
    target = (softmax(logits).cumsum(axis=1) > chance.random((rows, 1))).argmax(axis=1)
    return logits / np.linspace(2, 4, classes) - np.linspace(0, 1, classes), target, softmax(logits)


def test_calibrated_probabilities_are_the_true_ones():
    scores, target, _ = said(6000)
    fresh, _, fresh_truth = said(2000, seed=1)
    calibrated = Calibration.fit(scores, target)
    assert np.abs(softmax(fresh) - fresh_truth).mean() > 0.1
    assert np.abs(calibrated(fresh) - fresh_truth).mean() < 0.02
    assert calibration_error(calibrated(scores), target) < 0.03 < calibration_error(softmax(scores), target)


def test_the_probabilities_are_the_softmax_of_the_logits():
    scores, target, _ = said(300)
    calibrated = Calibration.fit(scores, target)
    assert calibrated(scores) == pytest.approx(softmax(calibrated.logits(scores)))
    assert calibrated(scores).sum(axis=1) == pytest.approx(1)


def test_a_class_that_never_occurs_does_not_break_the_fit():
    scores, target, _ = said(200)
    calibrated = Calibration.fit(scores[target != 3], target[target != 3])
    assert np.isfinite(calibrated.slope).all() and np.isfinite(calibrated(scores)).all()


def test_the_same_scores_calibrate_the_same_way():
    first, second = (Calibration.fit(*said(300)[:2]) for _ in range(2))
    assert first.slope.tolist() == second.slope.tolist()


def test_softmax_bears_large_logits():
    assert softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])).tolist() == [[1.0, 0.0], [0.5, 0.5]]
