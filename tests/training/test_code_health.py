import dataclasses

import numpy as np
import pandas as pd
import pytest

from models.code_health.features import NAMES, READS
from tests.families.code_health import releases, tiny
from training.archive import build
from training.code_health import Options, train
from training.code_health_fit import MEMBERS, MODELS, TARGET, TooFewRowsError, cuts, parts, strange
from training.code_health_scores import best_threshold, classified, groups
from training.code_labels import TARGETS
from training.data import code_health_rows
from training.data.code_health_rows import HORIZON_DAYS, Rows
from training.data.code_health_synthetic import Synthesis, generate
from training.data.quality import BadDataError


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def rows():
    return generate(Synthesis(projects=6, years=3.5))


def frame_of(rows: Rows) -> pd.DataFrame:
    said = {
        "project": rows.projects,
        "kind": rows.kinds,
        "subject": "x",
        "moment": rows.moments.astype("datetime64[s]"),
    }
    outcomes = {one.name: rows.targets[one.name] for one in TARGETS}
    return pd.DataFrame({**said, **dict(zip(NAMES, rows.features.T, strict=True)), **outcomes})


def test_every_model_reads_its_own_features_and_the_vote_all_of_them():
    assert {name: len(trained.features) for name, trained in tiny().items()} == {
        "code_risk": 28, "code_anomaly": 15, "code_bugs": 22, "code_impact": 31, "code_meta": 35,
    }  # fmt: skip
    assert tuple(tiny()) == MODELS


@pytest.mark.parametrize("target", HORIZON_DAYS)
def test_no_part_looks_beyond_the_next_parts_beginning(rows, target):
    divided = parts(rows, target, cuts(rows), 0)
    horizon = np.timedelta64(HORIZON_DAYS[target], "D")
    assert divided.fitting.moments.max() + horizon <= divided.choosing.moments.min()
    assert divided.choosing.moments.max() + horizon <= divided.later.moments.min()


def test_projects_kept_out_are_seen_by_nothing_but_the_test(rows):
    divided = parts(rows, "bug", cuts(rows), 0)
    seen = {*divided.fitting.projects, *divided.choosing.projects, *divided.later.projects}
    assert len(divided.unseen) > 0
    assert not seen & set(divided.unseen.projects)


def test_members_of_the_vote_were_fitted_before_the_rows_that_weigh_them(rows):
    at = cuts(rows)
    weighing = parts(rows, TARGET["code_meta"], at, 0).choosing.moments.min()
    assert all(parts(rows, TARGET[name], at, 0).fitting.moments.max() < weighing for name in MEMBERS)


def test_too_short_a_history_is_refused_with_what_to_do(rows):
    short = rows.select(np.flatnonzero(rows.moments < rows.moments.min() + np.timedelta64(200, "D")))
    with pytest.raises(TooFewRowsError, match="longer time, or of more projects"):
        parts(short, "risk", cuts(short), 0)


def test_equal_seeds_train_equal_models(tmp_path):
    small = Options(
        home=tmp_path, synthesis=Synthesis(projects=3, years=3.5), trials=1, explained=0, models=("code_bugs",)
    )
    first, second = (train(small)["code_bugs"] for _ in range(2))
    np.testing.assert_array_equal(first.model.answer(first.evaluation), second.model.answer(second.evaluation))
    assert first.metrics == second.metrics


def test_only_the_models_asked_for_are_trained(tmp_path):
    small = Options(home=tmp_path, synthesis=Synthesis(projects=3, years=3.5), explained=0, models=("code_anomaly",))
    assert list(train(small)) == ["code_anomaly"]


@pytest.mark.parametrize("name", MODELS)
def test_an_archive_is_certified_and_no_held_out_decision_differs(name, tmp_path):
    built = build(releases()[name], tmp_path)
    assert built.gap <= 1e-6
    assert sum(len(case.inputs["features"]) for case in releases()[name].evaluation) >= 100


def test_a_table_of_features_is_read_back_as_it_was_written(rows, tmp_path):
    frame_of(rows).to_parquet(tmp_path / "a.parquet")
    frame_of(rows).to_csv(tmp_path / "b.csv", index=False)
    found, faults = code_health_rows.read(tmp_path)
    assert faults == []
    assert len(found) == 2 * len(rows)
    np.testing.assert_allclose(found.features[: len(rows)], rows.features)
    np.testing.assert_array_equal(found.moments[: len(rows)], rows.moments)
    np.testing.assert_allclose(found.targets["bug"][len(rows) :], rows.targets["bug"])
    assert np.isnan(found.targets["anomaly"]).all()


def test_bad_rows_are_skipped_by_name_or_all_is_refused(rows, tmp_path):
    frame = frame_of(rows.select(np.arange(300)))
    frame.loc[3, "test_coverage"] = 1.5
    frame.loc[4, "lines_added"] = -2
    frame.loc[5, "kind"] = "branch"
    frame.to_csv(tmp_path / "bad.csv", index=False)
    found, faults = code_health_rows.read(tmp_path / "bad.csv")
    assert len(found) == 297
    assert {fault.index for fault in faults} == {3, 4, 5}
    with pytest.raises(BadDataError, match="test_coverage"):
        code_health_rows.read(tmp_path / "bad.csv", on_bad="refuse")
    frame.drop(columns="nesting").to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(BadDataError, match="nesting"):
        code_health_rows.read(tmp_path / "bad.csv")


def test_no_table_says_how_to_write_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="extract_code_features"):
        code_health_rows.read(tmp_path)


def test_a_table_without_known_anomalies_trains_the_vote_too(rows, tmp_path):
    frame_of(rows).to_parquet(tmp_path / "rows.parquet")
    trained = train(
        Options(data=str(tmp_path / "rows.parquet"), home=tmp_path, trials=1, explained=0, models=("code_meta",))
    )
    assert "auc" in trained["code_meta"].metrics


def test_thresholds_are_never_an_answer_and_choose_what_they_are_asked_to():
    answers = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    truth = np.array([0, 0, 0, 1, 0, 1], np.float32)
    by_f1, by_accuracy = (best_threshold(truth, answers, by) for by in ("f1", "accuracy"))
    assert by_f1 == np.float32(0.35)
    assert by_accuracy in (np.float32(0.35), np.float32(0.55))
    assert classified(truth, answers, by_f1)["recall"] == 1


def test_as_many_usual_rows_are_called_strange_as_stated():
    scores = np.random.default_rng(0).random(2000)
    assert (scores >= strange(scores)).mean() == pytest.approx(0.03, abs=0.001)


def test_slices_say_unknown_where_a_feature_is_missing(rows):
    lost = dataclasses.replace(rows, features=np.full_like(rows.features, np.nan))
    assert set(groups(lost)["age"]) == {"unknown"}
    assert {"below 90 days", "over a year"} <= set(groups(rows)["age"])


def test_what_a_model_reads_is_in_the_order_of_the_table():
    for name in MODELS:
        assert list(READS[name]) == [one for one in NAMES if one in READS[name]]


def test_a_few_true_rows_that_nobody_can_tell_do_not_make_everything_an_alarm():
    answers = np.random.default_rng(0).random(1000)
    truth = np.zeros(1000, np.float32)
    truth[answers.argsort()[[5, 300, 700]]] = 1
    assert (answers >= best_threshold(truth, answers, "f1")).mean() < 0.02
