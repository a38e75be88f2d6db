from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from handlers.engine import OnnxEngine
from models.budget.anomaly_features import FEATURES
from tests.training.refits import assert_no_worse, log_loss
from training.budget.anomaly.detector import GROUPS
from training.budget.anomaly.metrics import recall_at, threshold_for
from training.budget.anomaly.recipe import Options, Trained, train
from training.budget.anomaly.release import release
from training.budget.anomaly.rows import table
from training.budget.synthetic.accounts import Synthesis, generate
from training.data import splits
from training.evaluation.reliability import calibration_error

FEW: dict[str, Any] = {"users": 8, "months": 5}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def trained(home: Path) -> Trained:
    return train(Options(home=home, **FEW))


@pytest.fixture(scope="module")
def quick(home: Path) -> Trained:
    return train(Options(home=home, quick=True, **FEW))


def test_the_test_users_were_never_seen(trained: Trained) -> None:
    counts = [int(trained.params[f"rows_{part}"]) for part in ("kept", "test")]
    assert sum(counts) == len(generate(Synthesis(**FEW))) and counts[1] == len(trained.test)
    assert 1 <= len(set(trained.test.users.tolist())) < FEW["users"]


def test_what_ships_is_fitted_to_all_users_and_says_so(trained: Trained) -> None:
    assert trained.fits.refitted and not trained.quick
    assert trained.fits.shipped.startswith(f"all {len(generate(Synthesis(**FEW))):,} transactions of 8 users")


def test_a_quick_run_ships_the_evaluated_fit_and_says_so(trained: Trained, quick: Trained) -> None:
    assert quick.quick and not quick.fits.refitted
    assert np.array_equal(quick.test_scores, quick.detector.scores(quick.test.rows))
    # nothing was searched but the defaults: the long run's figures are of the same fit
    assert quick.metrics == trained.metrics
    assert np.array_equal(quick.test_scores, trained.test_scores)


def test_what_ships_is_at_least_as_good_as_the_evaluated_fit(trained: Trained, quick: Trained) -> None:
    fresh = table(generate(Synthesis(users=24, months=5, seed=7)))
    shipped, evaluated = (log_loss(one.detector.scores(fresh.rows), fresh.odd) for one in (trained, quick))
    assert_no_worse(shipped, evaluated, fresh.users)


def test_reference_scores_are_of_a_fit_that_has_not_seen_the_rows(trained: Trained) -> None:
    reference = release(trained, "1.0").reference
    assert len(reference["score"]) == min(len(trained.test), splits.MOST_REFERENCES) > 512
    own = trained.detector.scores(np.asarray(reference["features"], np.float32))
    assert not np.allclose(reference["score"], own, atol=1e-4)
    assert set(reference["score"].tolist()) <= set(trained.test_scores.astype(np.float32).tolist())


def test_equal_seeds_train_equal_detectors(trained: Trained, home: Path) -> None:
    again = train(Options(home=home, **FEW))
    assert again.metrics == trained.metrics and again.thresholds == trained.thresholds
    assert again.detector.graph() == trained.detector.graph()


def test_anomalies_score_higher_and_few_usual_transactions_are_reported(trained: Trained) -> None:
    assert trained.metrics["auc"] > 0.8
    assert trained.metrics["suspicious.false_positives"] < 0.10
    assert trained.thresholds["suspicious"] < trained.thresholds["anomalous"]


def test_the_parts_add_up_to_the_score(trained: Trained) -> None:
    detector, rows = trained.detector, trained.test.rows[:300]
    answers = detector.answers(rows)
    odds = np.log(answers.score / (1 - answers.score))
    parts = odds - np.log(answers.without / (1 - answers.without))
    base = detector.log_odds(detector.usual[None])[0]
    np.testing.assert_allclose(parts.sum(axis=1) + base, odds[:, 0], atol=1e-6)


def test_a_part_is_moved_by_its_own_features_only(trained: Trained) -> None:
    rows = trained.test.rows[:50]
    strange = rows.copy()
    strange[:, GROUPS["profile"]] = 3.0
    detector = trained.detector

    def repetition(some: np.ndarray) -> np.ndarray:
        answers = detector.answers(some)
        return np.log(answers.score / (1 - answers.score))[:, 0] - np.log(answers.without / (1 - answers.without))[:, 0]

    np.testing.assert_allclose(repetition(strange), repetition(rows), atol=1e-6)


def test_the_trees_never_fall_where_a_payment_gets_odder(trained: Trained) -> None:
    rows = trained.test.rows[:100]
    for name, sign in (("twin", 1), ("amount_vs_merchant", 1), ("burst_merchant", 1), ("merchant_similarity", -1)):
        odder = rows.copy()
        odder[:, FEATURES.index(name)] += sign * 2
        assert (
            trained.detector.boosted.decision_function(odder) >= trained.detector.boosted.decision_function(rows)
        ).all()


def test_the_graph_answers_as_the_estimators(trained: Trained, tmp_path: Path) -> None:
    made = release(trained, "1.0")
    (tmp_path / "model.onnx").write_bytes(made.onnx)
    engine = OnnxEngine(tmp_path / "model.onnx", made.contract, None)
    for case in (*made.cases, *made.evaluation):
        got = engine.run(case.inputs)
        outputs: Mapping[str, npt.NDArray[Any]] = case.outputs
        for name, expected in outputs.items():
            np.testing.assert_allclose(got[name], expected, atol=1e-5, err_msg=case.name)
        assert np.array_equal(made.decide(got), made.decide(case.outputs))


def test_the_table_judges_each_row_as_if_it_came_with_its_day_and_what_is_before() -> None:
    frame = generate(Synthesis(users=2, months=3))
    whole = table(frame)
    assert len(whole) == len(frame) and (whole.kinds == frame["anomaly"].to_numpy()).all()
    at = int(np.flatnonzero(whole.before == 70)[1])
    only = np.zeros(len(frame), bool)
    only[at] = True
    one = table(frame, only)
    assert one.users.tolist() == [whole.users[at]] and one.before.tolist() == [70]
    same = [
        k for k, name in enumerate(FEATURES) if name != "amount_vs_user"
    ]  # the user's median is over all that is sent
    assert np.array_equal(one.rows[0, same], whole.rows[at, same])


def test_thresholds_lie_between_scores_and_keep_their_promise() -> None:
    rng = np.random.default_rng(0)
    score, odd = rng.random(10_000), rng.random(10_000) < 0.02
    threshold = threshold_for(score, odd, 0.03)
    assert (score[~odd] >= threshold).mean() == pytest.approx(0.03, abs=0.002)
    assert np.abs(score - threshold).min() > 1e-6
    assert recall_at(score, odd, 0.5) == pytest.approx(0.5, abs=0.15)
    assert calibration_error(np.full(10_000, 0.02), odd) < 0.005 < calibration_error(score, odd)


def test_an_empty_choice_of_rows_is_an_empty_table() -> None:
    frame = generate(Synthesis(users=1, months=1))
    assert table(frame, np.zeros(len(frame), bool)).rows.shape == (0, len(FEATURES))
