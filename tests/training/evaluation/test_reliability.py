import numpy as np
import pytest

from training.evaluation.plots import reliability_diagram
from training.evaluation.reliability import BINS, calibration_error, first_choice, measure_reliability


def test_a_forecast_that_comes_true_as_often_as_it_says_has_no_error() -> None:
    predicted = np.repeat([0.1, 0.5, 0.9], 100)
    happened = np.concatenate([np.arange(100) < share for share in (10, 50, 90)])
    assert calibration_error(predicted, happened) == pytest.approx(0, abs=1e-12)


def test_confidence_above_accuracy_is_an_error() -> None:
    # equal probabilities are one bin: 0.9 said, 6 in 10 right
    assert calibration_error(np.full(10, 0.9), np.arange(10) < 6) == pytest.approx(0.3)


def test_gaps_are_weighted_by_rows() -> None:
    predicted = np.repeat([0.2, 0.8], [300, 100])
    happened = np.concatenate([np.arange(300) < 90, np.arange(100) < 60])  # 0.3 and 0.6
    assert calibration_error(predicted, happened) == pytest.approx(0.75 * 0.1 + 0.25 * 0.2)


def test_gaps_of_a_rare_event_do_not_cancel_in_one_bin() -> None:
    # all below 0.1: in ranges of equal width the two halves would be one bin, and its mean right
    predicted = np.repeat([0.01, 0.05], 1000)
    happened = np.concatenate([np.arange(1000) < 50, np.arange(1000) < 10])
    assert calibration_error(predicted, happened) == pytest.approx(0.04)


def test_bins_hold_equally_many_rows() -> None:
    predicted = np.random.default_rng(0).permutation(np.linspace(0, 1, 1500) ** 3)
    found = measure_reliability(predicted, predicted > 2)
    assert found.counts.tolist() == [100] * BINS and (np.diff(found.predicted) > 0).all()
    assert found.error == pytest.approx(predicted.mean())


def test_the_first_choice_is_what_a_classifier_is_sure_of() -> None:
    sure, right = first_choice(np.array([[0.7, 0.3], [0.4, 0.6]]), np.array([0, 0]))
    assert sure.tolist() == [0.7, 0.6] and right.tolist() == [True, False]


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one probability"):
        calibration_error(np.zeros(0), np.zeros(0))


def test_the_diagram_shows_error_bins_and_counts() -> None:
    found = measure_reliability(np.full(10, 0.9), np.arange(10) < 6)
    figure = reliability_diagram({"a": found, "b": found})
    upper, lower = figure.axes[0], figure.axes[2]
    assert upper.get_title() == "a: calibration error 0.300"
    assert upper.lines[1].get_xydata() == pytest.approx(np.array([[0.9, 0.6]]))
    assert lower.dataLim.ymax == 10
