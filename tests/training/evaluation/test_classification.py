import numpy as np
import pytest

from training.evaluation.classification import evaluate

SIGNS = ("a", "b", "c", "d", "e", "f", "g")


def test_a_perfect_and_sure_classifier_scores_one_and_is_calibrated() -> None:
    report = evaluate(np.eye(7), np.arange(7), SIGNS)
    perfect = dict.fromkeys(("accuracy", "top5", "macro_f1", "weighted_f1"), 1.0)
    assert report.metrics == {**perfect, "calibration_error": 0.0}


def test_numbers_agree_with_a_count_by_hand() -> None:
    probabilities = np.eye(7)[[0, 0, 1, 1]]
    report = evaluate(probabilities, np.array([0, 0, 0, 1]), SIGNS)
    assert report.accuracy == 0.75
    assert report.sign_f1 == {"a": pytest.approx(0.8), "b": pytest.approx(2 / 3)}
    assert report.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert report.weighted_f1 == pytest.approx((3 * 0.8 + 2 / 3) / 4)
    assert report.confusion[0].tolist() == [2, 1, 0, 0, 0, 0, 0]


def test_top_five_counts_the_first_five_only() -> None:
    ranked = np.array([[7, 6, 5, 4, 3, 2, 1]]) / 28
    assert evaluate(ranked, np.array([4]), SIGNS).top5 == 1
    assert evaluate(ranked, np.array([5]), SIGNS).top5 == 0


def test_nothing_to_evaluate_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one clip"):
        evaluate(np.zeros((0, 7)), np.zeros(0, np.int64), SIGNS)
