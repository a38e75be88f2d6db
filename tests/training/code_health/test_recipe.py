import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.code_health.features import NAMES, READS, columns
from models.ranges import Bounds
from tests.families.code_health import releases, tiny
from tests.training.refits import assert_no_worse
from training.code_health import rows as code_health_rows
from training.code_health.estimators import usual
from training.code_health.fit import (
    MODELS,
    TARGET,
    Division,
    TooFewRowsError,
    cuts,
    fit,
    keep_projects,
    parts,
    strange,
)
from training.code_health.metrics import auc, best_threshold, classified, groups
from training.code_health.mining.targets import TARGETS
from training.code_health.recipe import Options, Trained, train
from training.code_health.rows import HORIZON_DAYS, Rows
from training.code_health.synthetic.rows import Synthesis, generate
from training.data.quality import BadDataError
from training.packaging.archive import build


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return generate(Synthesis(projects=6, years=3.5))


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    home = tmp_path_factory.mktemp("quick")
    return train(Options(home=home, synthesis=Synthesis(projects=5, years=3.5), explained=0, quick=True))


def frame_of(rows: Rows) -> pd.DataFrame:
    said = {
        "project": rows.projects,
        "kind": rows.kinds,
        "subject": "x",
        "moment": rows.moments.astype("datetime64[s]"),
    }
    outcomes = {one.name: rows.targets[one.name] for one in TARGETS}
    return pd.DataFrame({**said, **dict(zip(NAMES, rows.features.T, strict=True)), **outcomes})


def test_every_model_reads_its_own_features_and_the_vote_all_of_them() -> None:
    assert {name: len(trained.features) for name, trained in tiny().items()} == {
        "code_risk": 28, "code_anomaly": 15, "code_bugs": 22, "code_impact": 31, "code_meta": 35,
    }  # fmt: skip
    assert tuple(tiny()) == MODELS


@pytest.mark.parametrize("target", HORIZON_DAYS)
def test_no_part_looks_beyond_the_next_parts_beginning(rows: Rows, target: str) -> None:
    divided = parts(rows, target, cuts(rows), keep_projects(rows, 0))
    horizon = np.timedelta64(HORIZON_DAYS[target], "D")
    assert divided.known.moments.max() + horizon <= divided.later.moments.min()
    for early, late in Division.of(divided.known, cuts(rows)[0], 0).pairs(divided.known, target):
        assert divided.known.moments[early].max() + horizon <= divided.known.moments[late].min()


def test_projects_kept_out_are_seen_by_nothing_but_the_test(rows: Rows) -> None:
    divided = parts(rows, "bug", cuts(rows), keep_projects(rows, 0))
    seen = {*divided.known.projects, *divided.later.projects}
    assert len(divided.unseen) > 0
    assert not seen & set(divided.unseen.projects)


def test_rows_are_answered_by_fits_to_other_projects_where_there_are_enough(rows: Rows) -> None:
    pairs = Division.of(rows, cuts(rows)[0], 0).pairs(rows, "bug")
    assert len(pairs) == 3
    assert all(not set(rows.projects[early]) & set(rows.projects[late]) for early, late in pairs)
    answered = np.concatenate([late for _, late in pairs])
    assert sorted(answered) == np.flatnonzero(rows.moments >= cuts(rows)[0]).tolist()
    few = rows.select(np.flatnonzero(np.isin(rows.projects, np.unique(rows.projects)[:3])))
    assert len(Division.of(few, cuts(rows)[0], 0).pairs(few, "bug")) == 1


def test_members_answer_for_the_vote_what_they_were_not_fitted_to(rows: Rows) -> None:
    known = parts(rows, "bug", cuts(rows), keep_projects(rows, 0)).known
    fitted = fit("code_bugs", known, Division.of(known, cuts(rows)[0], 0), usual("code_bugs"))
    answers = fitted.answer_unseen(known)
    assert (np.isfinite(answers) == (known.moments >= cuts(rows)[0])).all()
    asked = np.isfinite(answers)
    own = fitted.model.answer(known.features[:, columns(READS["code_bugs"])])
    truth = known.targets["bug"]
    assert auc(truth[asked], own[asked]) > auc(truth[asked], answers[asked]) + 0.02  # who has seen them knows them


def test_what_ships_is_fitted_to_all_rows_and_says_so() -> None:
    for name, trained in tiny().items():
        assert trained.fits.refitted and not trained.quick
        assert trained.fits.shipped.startswith("all ")
        assert not np.allclose(trained.reference_answers, trained.model.answer(trained.reference), atol=1e-4)
        np.testing.assert_array_equal(releases()[name].reference["answer"], trained.reference_answers)


def test_a_quick_run_ships_the_evaluated_fit_and_says_so(quick: dict[str, Trained]) -> None:
    for trained in quick.values():
        assert trained.quick and not trained.fits.refitted
        np.testing.assert_allclose(trained.reference_answers, trained.model.answer(trained.reference), atol=1e-6)


@pytest.mark.parametrize("name", ["code_risk", "code_bugs", "code_meta"])
def test_what_ships_orders_rows_at_least_as_well_as_the_evaluated_fit(name: str, quick: dict[str, Trained]) -> None:
    """By area, as how often things happen differs from draw to draw and is not what is compared."""
    fresh = generate(Synthesis(projects=8, years=3.5, seed=11)).known(TARGET[name])
    asked, truth = fresh.features[:, columns(READS[name])], fresh.targets[TARGET[name]]
    projects = np.unique(fresh.projects)

    def miss(model: Trained) -> np.ndarray:
        """Return what the area lacks in each project."""
        answers = model.model.answer(asked)
        return np.array([1 - auc(truth[mine], answers[mine]) for mine in (fresh.projects == one for one in projects)])

    assert_no_worse(miss(tiny()[name]), miss(quick[name]), projects)


def test_too_short_a_history_is_refused_with_what_to_do(rows: Rows) -> None:
    short = rows.select(np.flatnonzero(rows.moments < rows.moments.min() + np.timedelta64(200, "D")))
    with pytest.raises(TooFewRowsError, match="longer time, or of more projects"):
        parts(short, "risk", cuts(short), keep_projects(short, 0))


def test_equal_seeds_train_equal_models(tmp_path: Path) -> None:
    small = Options(
        home=tmp_path, synthesis=Synthesis(projects=3, years=3.5), trials=1, explained=0, models=("code_bugs",)
    )
    first, second = (train(small)["code_bugs"] for _ in range(2))
    np.testing.assert_array_equal(first.model.answer(first.evaluation), second.model.answer(second.evaluation))
    assert first.metrics == second.metrics


def test_only_the_models_asked_for_are_trained(tmp_path: Path) -> None:
    small = Options(home=tmp_path, synthesis=Synthesis(projects=3, years=3.5), explained=0, models=("code_anomaly",))
    assert list(train(small)) == ["code_anomaly"]


@pytest.mark.parametrize("name", MODELS)
def test_an_archive_is_certified_and_no_held_out_decision_differs(name: str, tmp_path: Path) -> None:
    built = build(releases()[name], tmp_path)
    assert built.gap <= 1e-6
    assert sum(len(case.inputs["features"]) for case in releases()[name].evaluation) >= 100


def test_a_table_of_features_is_read_back_as_it_was_written(rows: Rows, tmp_path: Path) -> None:
    frame_of(rows).to_parquet(tmp_path / "a.parquet")
    frame_of(rows).to_csv(tmp_path / "b.csv", index=False)
    found, faults = code_health_rows.read(tmp_path)
    assert faults == []
    assert len(found) == 2 * len(rows)
    np.testing.assert_allclose(found.features[: len(rows)], rows.features)
    np.testing.assert_array_equal(found.moments[: len(rows)], rows.moments)
    np.testing.assert_allclose(found.targets["bug"][len(rows) :], rows.targets["bug"])
    assert np.isnan(found.targets["anomaly"]).all()


def test_bad_rows_are_skipped_by_name_or_all_is_refused(rows: Rows, tmp_path: Path) -> None:
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


def test_rows_that_no_model_would_answer_are_refused_with_the_reason(rows: Rows, tmp_path: Path) -> None:
    frame = frame_of(rows.select(np.arange(100)))
    frame.loc[3, list(NAMES)] = np.nan
    frame.loc[4, list(NAMES[5:])] = np.nan
    frame.loc[5, [name for name in NAMES if name not in READS["code_anomaly"]]] = np.nan  # which one model answers
    frame.loc[6, "fix_share"] = 37
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    found, faults = code_health_rows.read(tmp_path / "gaps.csv")
    assert len(found) == 97
    assert {fault.index for fault in faults} == {3, 4, 6}
    assert any("missing_share" in fault.detail for fault in faults)
    with pytest.raises(BadDataError, match="missing_share"):
        code_health_rows.read(tmp_path / "gaps.csv", on_bad="refuse")
    assert len(code_health_rows.select_possible(found, READS["code_anomaly"])) == 97
    assert len(code_health_rows.select_possible(found, READS["code_meta"])) == 96


@pytest.mark.parametrize("name", MODELS)
def test_a_contract_says_what_features_can_be_and_usually_are(name: str) -> None:
    contract = releases()[name].contract
    assert set(contract.possible) == {*READS[name], "missing_share"} >= set(contract.usual)
    assert contract.possible["missing_share"] == (0.0, 0.5)
    golden = tiny()[name].evaluation
    assert Bounds.read(contract.usual, READS[name]).outside(golden).mean() < 0.05


def test_no_table_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="extract_code_features"):
        code_health_rows.read(tmp_path)


def test_a_table_without_known_anomalies_trains_the_vote_too(rows: Rows, tmp_path: Path) -> None:
    frame_of(rows).to_parquet(tmp_path / "rows.parquet")
    trained = train(
        Options(data=str(tmp_path / "rows.parquet"), home=tmp_path, trials=1, explained=0, models=("code_meta",))
    )
    assert "auc" in trained["code_meta"].metrics


def test_thresholds_are_never_an_answer_and_choose_what_they_are_asked_to() -> None:
    answers = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    truth = np.array([0, 0, 0, 1, 0, 1], np.float32)
    by_f1, by_accuracy = (best_threshold(truth, answers, by) for by in ("f1", "accuracy"))
    assert by_f1 == np.float32(0.35)
    assert by_accuracy in (np.float32(0.35), np.float32(0.55))
    assert classified(truth, answers, by_f1)["recall"] == 1


def test_as_many_usual_rows_are_called_strange_as_stated() -> None:
    scores = np.random.default_rng(0).random(2000)
    assert (scores >= strange(scores)).mean() == pytest.approx(0.03, abs=0.001)


def test_slices_say_unknown_where_a_feature_is_missing(rows: Rows) -> None:
    lost = dataclasses.replace(rows, features=np.full_like(rows.features, np.nan))
    assert set(groups(lost)["age"]) == {"unknown"}
    assert {"below 90 days", "over a year"} <= set(groups(rows)["age"])


def test_what_a_model_reads_is_in_the_order_of_the_table() -> None:
    for name in MODELS:
        assert list(READS[name]) == [one for one in NAMES if one in READS[name]]


def test_a_few_true_rows_that_nobody_can_tell_do_not_make_everything_an_alarm() -> None:
    answers = np.random.default_rng(0).random(1000)
    truth = np.zeros(1000, np.float32)
    truth[answers.argsort()[[5, 300, 700]]] = 1
    assert (answers >= best_threshold(truth, answers, "f1")).mean() < 0.02
