import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from models.code_health.features import NAMES
from training.code_health import recorded as code_health_recorded
from training.code_health.cross_validation import cross_validate, impact, markdown
from training.code_health.feature_views import folds, inner, relative, views
from training.code_health.recorded_sets import ISSUE, RecordedSet
from training.data.quality import BadDataError

FOLDER = os.environ.get("MARINA_RECORDED_DATA", "")
needs_data = pytest.mark.skipif(not FOLDER, reason="no recorded data: set MARINA_RECORDED_DATA to its folder")


def jit(count: int = 900, projects: int = 3) -> pd.DataFrame:
    """Make up commits in the form of the recorded ones."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({
        "project": generator.choice([f"p{k}" for k in range(projects)], count),
        "commit": [f"{k:040x}" for k in range(count)],
        "author_unix": 1_400_000_000 + generator.integers(0, 10**7, count),
    })  # fmt: skip
    for name in ("ns", "nd", "nf", "la", "ld", "lt", "ndev", "nuc", "exp", "sexp"):
        frame[name] = generator.integers(1, 40, count)
    for name in ("entropy", "age", "rexp"):
        frame[name] = generator.exponential(2, count)
    frame["fix"] = generator.integers(0, 2, count)
    frame["bug"] = (generator.random(count) < 1 / (1 + np.exp(3 - frame["la"] / 8))).astype(int)
    return frame


@pytest.fixture
def recorded(tmp_path: Path) -> RecordedSet:
    jit().to_csv(tmp_path / "jit_commits.csv.gz", index=False)
    found, faults = code_health_recorded.read(tmp_path / "jit_commits.csv.gz")
    assert faults == []
    return found[0]


def test_rows_are_in_the_order_of_time_within_their_project(recorded: RecordedSet) -> None:
    for project in np.unique(recorded.projects):
        assert (np.diff(recorded.order[recorded.projects == project]) > 0).all()


def test_columns_that_mean_the_same_as_a_feature_are_a_set_of_their_own(tmp_path: Path) -> None:
    jit().to_csv(tmp_path / "jit_commits.csv.gz", index=False)
    [whole, ours], _ = code_health_recorded.read(tmp_path / "jit_commits.csv.gz")
    assert ours.name == "jit_commits as 13 of the 35"
    assert set(ours.columns) < set(NAMES)
    np.testing.assert_array_equal(ours.columns["lines_added"], whole.columns["la"])
    np.testing.assert_allclose(ours.columns["changes"], whole.columns["nuc"] / whole.columns["nf"])
    np.testing.assert_array_equal(ours.target, whole.target)


def test_bad_rows_are_named_and_skipped_or_refused(tmp_path: Path) -> None:
    frame = jit()
    frame.loc[2, "bug"] = 2
    frame.loc[5, "la"] = -1
    frame.loc[7, "commit"] = "no hash"
    frame.to_csv(tmp_path / "jit_commits.csv.gz", index=False)
    found, faults = code_health_recorded.read(tmp_path / "jit_commits.csv.gz")
    assert len(found[0]) == 897
    assert {fault.index for fault in faults} == {2, 5, 7}
    with pytest.raises(BadDataError, match="jit_commits"):
        code_health_recorded.read(tmp_path / "jit_commits.csv.gz", on_bad="refuse")


def test_what_is_usual_is_known_from_earlier_rows_alone(recorded: RecordedSet) -> None:
    own = np.stack(list(recorded.columns.values()), axis=1)
    mine = np.flatnonzero(recorded.projects == "p0")
    later = own.copy()
    later[mine[60:]] *= 7
    first, second = relative(recorded, own), relative(recorded, later)
    np.testing.assert_array_equal(first[mine[:60]], second[mine[:60]])
    assert not np.array_equal(first[mine[61:]], second[mine[61:]], equal_nan=True)


def test_folds_and_inner_folds_never_mix_time_or_projects(recorded: RecordedSet) -> None:
    for train, test in folds(recorded, "time", 3):
        assert recorded.order[train].max() < recorded.order[test].min()
        [(early, late)] = inner(recorded, train, "time")
        assert recorded.order[early].max() < recorded.order[late].min()
    for train, test in folds(recorded, "project", 3):
        assert not set(recorded.projects[train]) & set(recorded.projects[test])


def test_a_project_that_was_never_seen_is_not_told_by_name(recorded: RecordedSet) -> None:
    width = {split: {rows.shape[1] for rows in views(recorded, split).values()} for split in ("time", "project")}
    assert width["time"] == {columns + 3 for columns in width["project"]}


def test_no_recorded_set_says_which_are_known(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="jit_commits"):
        code_health_recorded.files(tmp_path)


@pytest.mark.slow
def test_every_recipe_learns_what_there_is_to_learn(recorded: RecordedSet) -> None:
    result = cross_validate(recorded, "time", 3, 2, Console(quiet=True))
    assert result.mean("meta") > 0.65
    assert "jit_commits" in markdown([result])


@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "projects", "rate"),
    [
        ("jit_commits", 61368, 4, 0.29),
        ("apachejit_commits", 72024, 11, 0.31),
        ("issue_delay", 44645, 6, 0.20),
        ("sprints", 2456, 4, 0.45),
        ("aeeem_class", 3874, 4, 0.17),
    ],
)
def test_each_recorded_set_is_read_whole(name: str, rows: int, projects: int, rate: float) -> None:
    [found, *_], faults = code_health_recorded.read(Path(FOLDER) / "code_health" / f"{name}.csv.gz")
    assert (len(found), len(set(found.projects)), faults) == (rows, projects, [])
    assert found.target.mean() == pytest.approx(rate, abs=0.01)


def test_an_issue_is_on_one_side_of_a_cut_with_all_of_its_snapshots(tmp_path: Path) -> None:
    count, generator = 60, np.random.default_rng(0)
    snapshots = ("creation", "due", "discussion")
    frame = pd.DataFrame({name: generator.integers(0, 9, 3 * count) for name in ISSUE})
    frame["project"] = "p"
    frame["issuekey"] = [f"P-{k}" for k in range(count)] * 3
    frame["snapshot"] = np.repeat(snapshots, count)
    frame["openeddate"] = [f"2020-01-{1 + k % 9:02d}" for k in range(count)] * 3  # many on one day
    frame["delaydays"] = np.arange(count).tolist() * 3  # tells issues apart
    frame["type"], frame["priority"] = "Bug", "Major"
    frame.loc[0, "workload"] = -1  # one bad row: its issue is not whole
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "issue_delay.csv.gz", index=False)
    [early, whole], faults = code_health_recorded.read(tmp_path / "issue_delay.csv.gz")
    assert (len(early), len(whole), len(faults)) == (count - 1, 3 * (count - 1), 1)
    assert whole.amount is not None
    for place in np.unique(whole.order):
        assert len(set(whole.amount[whole.order == place].tolist())) == 1


@needs_data
@pytest.mark.slow
def test_later_sprints_are_foreseen_better_than_by_the_plain_baselines() -> None:
    [found], _ = code_health_recorded.read(Path(FOLDER) / "code_health" / "sprints.csv.gz")
    result = cross_validate(found, "time", 4, 2, Console(quiet=True))
    assert result.mean("meta") > max(result.mean("forest"), result.mean("logistic"))
    for network, _, mean in impact(found, "time", 4):
        assert network < mean
