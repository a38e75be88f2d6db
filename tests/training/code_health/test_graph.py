from typing import Any

import numpy as np
import onnxruntime
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from training.code_health.estimators import CANDIDATES, anomaly, signed_log
from training.code_health.graph import ensemble_graph, member_graph
from training.code_health.rows import Floats
from training.code_health.voting import Member, fit_calibration, fit_ensemble, weight_votes
from training.export.onnx_graph import finished

generator = np.random.default_rng(0)
ROWS = generator.lognormal(1, 2, (1500, 12)).astype(np.float32)
ROWS[:, :4] = ROWS[:, :4].round()
ROWS[:, 5] -= 4  # a feature that may be negative
ROWS[generator.random(ROWS.shape) < 0.08] = np.nan
TARGET = (np.nan_to_num(np.log1p(ROWS[:, 0])) + generator.normal(0, 1, 1500) > 2).astype(np.float64)
EDGES = np.concatenate([np.full((1, 12), value, np.float32) for value in (np.nan, 0, -1, 1e30, -1e30, 3e38)])


def calibrated(name: str, estimator: Any, rows: Floats) -> Member:
    return Member(name, estimator, fit_calibration(estimator.predict_proba(rows)[:, 1], TARGET[900:]))


def members() -> dict[str, Member]:
    found = {"code_anomaly": Member("code_anomaly", anomaly().fit(ROWS[:900]))}
    for name, candidates in CANDIDATES.items():
        for candidate in candidates:
            estimator = candidate.build(optuna.trial.FixedTrial(dict(candidate.defaults)))
            if name == "code_impact":
                with pytest.warns(ConvergenceWarning):
                    found[name] = Member(name, estimator.fit(ROWS[:900], TARGET[:900] * 0.5))
            else:
                fitted = estimator.fit(ROWS[:900], TARGET[:900])
                found[candidate.name] = calibrated(name, fitted, ROWS[900:])
    return found


MEMBERS = members()


def run(graph: Any, rows: Floats) -> dict[str, Floats]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(finished(graph), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"features": rows}), strict=True))


@pytest.mark.parametrize("name", MEMBERS)
def test_a_graph_answers_as_the_estimator_on_usual_rows_gaps_and_extremes(name: str) -> None:
    rows = np.concatenate([ROWS, EDGES])
    answered = run(member_graph(MEMBERS[name], 12), rows)
    for output, expected in MEMBERS[name].outputs(rows).items():
        np.testing.assert_allclose(answered[output], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_row_alone_is_answered_as_in_a_batch(name: str) -> None:
    graph = member_graph(MEMBERS[name], 12)
    together = run(graph, ROWS[:20])
    for output, alone in run(graph, ROWS[7:8]).items():
        np.testing.assert_allclose(together[output][7:8], alone, atol=1e-6)


def test_the_vote_is_one_graph_that_gives_every_members_answer_too() -> None:
    voting = [MEMBERS[name] for name in ("forest and boosting", "code_anomaly", "histogram boosting", "code_impact")]
    columns = [np.arange(12)] * 4
    vote = fit_ensemble(voting, columns, np.stack([one.answer(ROWS[900:]) for one in voting], 1), TARGET[900:])
    answered = run(ensemble_graph(vote, 12), np.concatenate([ROWS, EDGES]))
    for output, expected in vote.outputs(np.concatenate([ROWS, EDGES])).items():
        np.testing.assert_allclose(answered[output], expected, atol=1e-5, rtol=0)
    assert answered["members"].shape == (len(ROWS) + len(EDGES), 4)


def test_members_read_their_own_columns_of_the_votes_rows() -> None:
    narrow = anomaly(20).fit(ROWS[:, [2, 7]])
    member = Member("code_anomaly", narrow)
    vote = fit_ensemble([member], [np.array([2, 7])], member.answer(ROWS[:, [2, 7]])[:, None], TARGET)
    answered = run(ensemble_graph(vote, 12), ROWS)
    np.testing.assert_allclose(answered["members"][:, 0], -narrow.score_samples(ROWS[:, [2, 7]]), atol=1e-5)


def test_weights_favour_who_knows_and_leave_out_who_points_the_wrong_way() -> None:
    truth = (generator.random(2000) < 0.4).astype(np.float64)
    knows = truth * 0.3 + generator.normal(0, 0.2, 2000)
    guesses, contrary = generator.random(2000), -knows
    _, _, weights = weight_votes(np.stack([knows, guesses, contrary], axis=1), truth)
    assert weights[0] > 0.8
    assert weights[2] == 0
    assert weights.sum() == pytest.approx(1)


@settings(max_examples=200, deadline=None)
@given(st.floats(-(2.0**90), 2.0**90, width=32), st.floats(-(2.0**90), 2.0**90, width=32))
def test_taming_keeps_the_order(one: float, other: float) -> None:
    low, high = sorted((one, other))
    first, second = signed_log(np.array([low, high], np.float32))
    assert first <= second


def test_a_feature_that_was_never_there_stops_no_training_and_moves_no_answer() -> None:
    lost = ROWS.copy()
    lost[:, 3] = np.nan
    for candidates in CANDIDATES.values():
        for candidate in candidates[:1] if candidates[0].name != "network" else ():
            estimator = candidate.build(optuna.trial.FixedTrial(dict(candidate.defaults))).fit(lost[:900], TARGET[:900])
            member = calibrated("code_bugs", estimator, lost[900:])
            answered = run(member_graph(member, 12), ROWS)["probabilities"]
            np.testing.assert_allclose(answered, member.outputs(ROWS)["probabilities"], atol=1e-5)
            np.testing.assert_allclose(answered, run(member_graph(member, 12), lost)["probabilities"], atol=1e-6)
