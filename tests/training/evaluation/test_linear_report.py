import numpy as np
import pytest

from training.evaluation.linear_report import group_weights, telling_words


def test_a_group_weighs_what_it_moves_the_answered_class_from_its_mean() -> None:
    parts = {"moving": np.array([[1.0, 0.0], [3.0, 9.0]]), "constant": np.array([[7.0, 0.0], [7.0, 0.0]])}
    assert group_weights(parts, np.array([0.0, -5.0])) == {"moving": 1.0, "constant": 0.0}  # class 0 answers both
    other = group_weights(parts, np.array([0.0, 5.0]))  # class 0, then class 1: |1 - 2| and |9 - 4.5|
    assert other["moving"] == pytest.approx((1 + 4.5) / 2)


def test_words_tell_the_class_whose_score_they_raise_above_the_others() -> None:
    scores = np.array([[5.0, 5.0], [1.0, 0.0], [0.0, 2.0]])
    assert telling_words(["both", "first", "second"], scores, ["a", "b"], "class").splitlines() == [
        "class\twords",
        "a\tfirst, both, second",
        "b\tsecond, both, first",
    ]
