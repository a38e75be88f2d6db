import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.market.features import NAMES
from training.calibration import Nesting, PlattScaling
from training.export.onnx_graph import finished
from training.market.ensembles import (
    ALERTS_PER_DAY,
    AlertEnsembles,
    best_thresholds,
    mean_auc,
    out_of_fold,
    rate_thresholds,
)


def rows(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features, sentiment never known, and three events that follow from them in part."""
    chance = np.random.default_rng(seed)
    table = chance.normal(size=(count, len(NAMES))).astype(np.float32)
    table[:, NAMES.index("sentiment")] = np.nan
    table[::3, NAMES.index("fear_greed")] = np.nan
    noise = chance.normal(size=(count, 3))
    return table, np.stack([table[:, 0] > 0.5, table[:, 1] + noise[:, 1] > 1, noise[:, 2] > 1], axis=1)


@pytest.fixture(scope="module")
def fitted() -> AlertEnsembles:
    return AlertEnsembles(trees=20, rounds=20).fit(*rows())


def test_what_can_be_learned_is_and_what_cannot_is_not(fitted: AlertEnsembles) -> None:
    table, happened = rows(seed=1)
    answers = fitted.predict_proba(table)
    assert answers.shape == (300, 3) and (answers >= 0).all() and (answers <= 1).all()
    assert mean_auc(fitted, table, happened) > 0.65
    assert answers[happened[:, 0], 0].mean() > 0.6 and answers[~happened[:, 0], 0].mean() < 0.4
    assert abs(answers[happened[:, 2], 2].mean() - answers[~happened[:, 2], 2].mean()) < 0.05


def test_the_graph_answers_as_the_ensembles_do(fitted: AlertEnsembles) -> None:
    table, _ = rows(seed=1)
    table[:50][np.random.default_rng(0).random((50, len(NAMES))) < 0.3] = np.nan
    table[50:60] *= 1e20
    calibration = PlattScaling(np.array([0.8, 1.2, 0.0]), np.array([-0.1, 0.3, -1.0]))
    content = finished(fitted.graph(calibration))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    probabilities, spread = session.run(["probabilities", "spread"], {"features": table})
    forests, boosted = fitted.votes(table)
    np.testing.assert_allclose(probabilities, calibration(0.6 * forests + 0.4 * boosted), atol=1e-6)
    np.testing.assert_allclose(spread, np.abs(forests - boosted), atol=1e-6)
    nesting = Nesting.of([[0, 2]], 3)
    nested = onnxruntime.InferenceSession(
        finished(fitted.graph(calibration, nesting)), providers=["CPUExecutionProvider"]
    )
    [rising] = nested.run(["probabilities"], {"features": table})
    np.testing.assert_allclose(rising, nesting(calibration(0.6 * forests + 0.4 * boosted)), atol=1e-6)
    assert (rising[:, 0] <= rising[:, 2]).all() and (probabilities[:, 0] > probabilities[:, 2]).any()
    np.testing.assert_array_equal(rising[:, 1], probabilities[:, 1])
    for row in range(0, 300, 50):  # to the last bit, alone as in company
        np.testing.assert_array_equal(
            nested.run(["probabilities"], {"features": table[row : row + 1]})[0][0], rising[row]
        )
    assert content == finished(AlertEnsembles(trees=20, rounds=20).fit(*rows()).graph(calibration))


def test_another_seed_fits_other_ensembles() -> None:
    table, _ = rows()
    first, second = (AlertEnsembles(trees=5, rounds=5, seed=seed).fit(*rows()).predict_proba(table) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_what_was_never_known_changes_no_answer(fitted: AlertEnsembles) -> None:
    table, _ = rows(seed=1)
    told = table.copy()
    told[:, NAMES.index("sentiment")] = 0.9
    np.testing.assert_array_equal(fitted.predict_proba(told), fitted.predict_proba(table))


def test_an_event_that_never_happened_is_unlikely_and_not_impossible() -> None:
    table, happened = rows()
    answers = AlertEnsembles(trees=10, rounds=10).fit(table, happened & False).predict_proba(table)
    assert (answers.mean(axis=0) > 0).all() and (answers < 0.2).all()


def test_fewer_than_fifty_hours_are_refused() -> None:
    table, happened = rows(49)
    with pytest.raises(ValueError, match="at least 50 hours to learn from, got 49"):
        AlertEnsembles().fit(table, happened)


def test_each_fold_is_answered_by_who_has_not_seen_it() -> None:
    table, happened = rows(200)
    folds = [(np.arange(0, 80), np.arange(100, 150)), (np.arange(0, 130), np.arange(150, 200))]
    ensembles = AlertEnsembles(trees=5, rounds=5)
    found = out_of_fold(ensembles, table, happened, folds)
    assert found.rows.tolist() == list(range(100, 200)) and found.fold.tolist() == [0] * 50 + [1] * 50
    changed = happened.copy()
    changed[130:] = ~changed[130:]  # what is not learned from cannot matter
    np.testing.assert_array_equal(out_of_fold(ensembles, table, changed, folds).probabilities, found.probabilities)


def test_calibration_makes_stated_probabilities_true() -> None:
    chance = np.random.default_rng(0)
    true = chance.uniform(0.05, 0.6, (20_000, 1))
    happened = chance.random(true.shape) < true
    odds = np.log(true / (1 - true))
    stated = 1 / (1 + np.exp(-(2.5 * odds + 1)))  # far too sure of itself
    corrected = PlattScaling.fit(stated, happened)(stated)
    for low in (0.1, 0.2, 0.3, 0.4, 0.5):
        mine = (corrected >= low) & (corrected < low + 0.1)
        assert happened[mine].mean() == pytest.approx(corrected[mine].mean(), abs=0.03)


def test_answers_that_are_worse_than_none_are_calibrated_to_the_base_rate() -> None:
    chance = np.random.default_rng(0)
    happened = chance.random((2000, 1)) < 0.3
    stated = np.where(happened, 0.2, 0.8) * chance.uniform(0.8, 1.2, happened.shape)
    corrected = PlattScaling.fit(stated, happened)(stated)
    assert np.ptp(corrected) == 0


def test_without_both_outcomes_answers_are_left_as_they_are() -> None:
    stated = np.linspace(0.1, 0.9, 20)[:, None]
    np.testing.assert_allclose(PlattScaling.fit(stated, np.zeros((20, 1), bool))(stated), stated)


@pytest.mark.parametrize("digits", [1, 2, 9])
def test_a_threshold_holds_its_rate_in_each_period_and_counts_what_may_begin(digits: int) -> None:
    chance = np.random.default_rng(0)
    probabilities = np.round(chance.random((3000, 2)) ** [1, 3], digits)  # of few digits many are equal
    counted = chance.random(probabilities.shape) < 0.6
    period = np.repeat([0, 1, 2], 1000)
    probabilities[period == 1] /= 2
    thresholds = rate_thresholds(probabilities, counted, period)
    given = counted & (probabilities >= thresholds)
    often = [24 * given[period == one].mean(axis=0) for one in range(3)]
    assert np.max(often) <= ALERTS_PER_DAY and np.max(often[1]) == 0
    if digits == 9:
        assert (np.max(often, axis=0) > 0.95 * ALERTS_PER_DAY).all()
    assert not np.isin(thresholds, probabilities).any()


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), min_size=2, max_size=30))
@settings(deadline=None)
def test_no_threshold_has_a_better_f1_than_the_best(pairs: list[tuple[int, bool]]) -> None:
    probabilities = np.array([[k / 8] for k, _ in pairs])
    truth = np.array([[happened] for _, happened in pairs])

    def f1(threshold: float) -> float:
        said = probabilities >= threshold
        return float(2 * (said & truth).sum() / max(1, said.sum() + truth.sum()))

    best = best_thresholds(probabilities, truth)[0]
    assert f1(best) >= max(f1(k / 8 - 0.01) for k in range(10)) - 1e-12
    if truth.any():
        assert best not in probabilities  # halfway between answers, so that rounding decides nothing
