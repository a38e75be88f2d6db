from dataclasses import replace

import numpy as np
import pytest

from models.market.alerts import LABELS
from models.market.targets import Outcomes
from training.market.ensembles import ALERTS_PER_DAY, Answers
from training.market.metrics import markdown, metrics, scores, walk_forward

COUNT = 300


def outcomes(seed: int = 0) -> Outcomes:
    chance = np.random.default_rng(seed)
    happened = chance.random((COUNT, 16)) < 0.3
    already = happened & (chance.random((COUNT, 16)) < 0.3)
    nothing = np.zeros((COUNT, 16))
    return Outcomes(happened, already, already, nothing, nothing, chance.integers(0, 4, COUNT))


def answers(found: Outcomes, skill: float = 1.0) -> Answers:
    chance = np.random.default_rng(1)
    raw = 1 / (1 + np.exp(-(skill * (2.0 * found.happened - 1) + chance.normal(size=(COUNT, 16)))))
    return Answers(np.arange(COUNT), raw, np.repeat([0, 1, 2], COUNT // 3))


TIMES = np.datetime64("2024-01-01T00", "h") + 4 * np.arange(COUNT)


def test_the_first_fold_is_not_scored_and_the_others_in_order() -> None:
    walked = walk_forward(answers(outcomes()), outcomes(), TIMES)
    assert walked.rows.tolist() == list(range(100, 300)) and set(walked.fold) == {1, 2}


def test_a_fold_is_decided_by_what_ended_before_it() -> None:
    found = outcomes()
    before = walk_forward(answers(found), found, TIMES)
    later = found.happened.copy()
    later[88:] = ~later[88:]  # of fold 0 what is within 48 h of fold 1, and everything after it
    after = walk_forward(answers(found), replace(found, happened=later), TIMES)
    np.testing.assert_array_equal(after.probabilities[:100], before.probabilities[:100])
    np.testing.assert_array_equal(after.decided[:100], before.decided[:100])
    assert not np.array_equal(after.probabilities[100:], before.probabilities[100:])


def test_alerts_are_of_what_may_begin_and_hold_their_rate() -> None:
    found = outcomes()
    walked = walk_forward(answers(found), found, TIMES)
    assert not (walked.alerted & found.already[walked.rows]).any()
    assert 0 < walked.alerted.mean() < 2 * ALERTS_PER_DAY / 24
    later = replace(found, already=found.already.copy())
    later.already[88:] = ~later.already[88:]  # of fold 0 what is within 48 h of fold 1, and everything after it
    changed = walk_forward(answers(found), later, TIMES)
    fresh = ~found.already[walked.rows] & ~later.already[walked.rows]
    np.testing.assert_array_equal((changed.alerted & fresh)[:100], (walked.alerted & fresh)[:100])


def test_scores_are_what_they_are_called() -> None:
    found = outcomes()
    walked = walk_forward(answers(found), found, TIMES)
    one = scores(walked, found)[5]
    truth, said = found.happened[100:, 5], walked.decided[:, 5]
    assert one.label == LABELS[5]
    assert one.base_rate == truth.mean()
    assert one.precision == pytest.approx(truth[said].mean())
    assert one.recall == pytest.approx(said[truth].mean())
    assert one.f1 == pytest.approx(2 * one.precision * one.recall / (one.precision + one.recall))
    assert one.always_f1 == pytest.approx(2 * truth.mean() / (1 + truth.mean()))
    held = found.already[100:, 5]
    assert one.persistence_f1 == pytest.approx(2 * (held & truth).sum() / (held.sum() + truth.sum()))
    assert one.news_rate == pytest.approx(truth[~held].mean())
    assert one.auc_worst <= one.auc <= one.auc_best


def test_knowing_scores_above_guessing() -> None:
    found = outcomes()

    def means(skill: float) -> dict[str, float]:
        return metrics(scores(walk_forward(answers(found, skill), found, TIMES), found))

    guessing, knowing = means(0.0), means(3.0)
    assert guessing["auc"] == pytest.approx(0.5, abs=0.05) and knowing["auc"] > 0.95
    assert guessing["skill"] < 0.02 and knowing["skill"] > 0.6
    assert knowing["f1"] > 0.85 and knowing["SPIKE_LIKELY_4h.f1"] > 0.8


def test_an_event_that_never_happens_breaks_no_table() -> None:
    found = outcomes()
    never = Outcomes(
        found.happened & False, found.already & False, found.persisted, found.reading, found.peak, found.regime
    )
    told = scores(walk_forward(answers(found), never, TIMES), never)
    assert "nan" in markdown(told) and all(np.isfinite(value) for value in metrics(told).values())
