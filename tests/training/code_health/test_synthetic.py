import numpy as np
import pytest

from models.code_health.features import NAMES, READS
from tests.timing import best_of
from training.code_health.fit import cuts, keep_projects, parts, plain
from training.code_health.metrics import auc
from training.code_health.rows import HORIZON_DAYS, Floats, Rows
from training.code_health.synthetic.project import MOST_A_DAY, SimulatedProject
from training.code_health.synthetic.rows import Synthesis, generate
from training.data.manifest import of_arrays

FEW = Synthesis(projects=3, years=2.0, seed=5)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return generate(Synthesis())


def column(rows: Rows, name: str) -> Floats:
    return rows.features[:, NAMES.index(name)]


def test_equal_options_give_equal_rows_and_another_seed_gives_others() -> None:
    one = of_arrays(generate(FEW).arrays(), "a").sha256
    assert one == of_arrays(generate(FEW).arrays(), "a").sha256
    assert one != of_arrays(generate(Synthesis(projects=3, years=2.0, seed=6)).arrays(), "a").sha256


def test_more_projects_leave_the_first_ones_as_they_are() -> None:
    fewer, more = generate(Synthesis(projects=1, years=2.0)), generate(Synthesis(projects=2, years=2.0))
    np.testing.assert_array_equal(more.features[: len(fewer)], fewer.features)


def test_twenty_thousand_rows_take_seconds() -> None:
    rows = []
    assert best_of(2, lambda: rows.append(generate(Synthesis()))) < 15
    assert len(rows[0]) > 15_000


def test_rows_of_a_project_are_in_the_order_of_time(rows: Rows) -> None:
    for project in np.unique(rows.projects):
        assert (np.diff(rows.moments[rows.projects == project]).astype(np.int64) >= 0).all()


def test_what_is_missing_is_missing_for_a_reason(rows: Rows) -> None:
    opaque = np.isnan(column(rows, "cyclomatic_complexity"))
    assert (column(rows, "functions")[opaque] == 0).all()
    assert 0.02 < opaque.mean() < 0.3
    assert 0.05 < np.isnan(column(rows, "seasonality")).mean() < 0.5
    assert np.isfinite(column(rows, "lines_added")).all()


def test_targets_are_unknown_where_the_history_ends_before_the_horizon(rows: Rows) -> None:
    last = rows.moments.max()
    for name, days in HORIZON_DAYS.items():
        unknown = np.isnan(rows.targets[name]) & (rows.kinds == "commit")
        late = rows.moments > last - np.timedelta64(days, "D")
        assert (late[unknown]).all()
        assert unknown.any() == (days > 0)


@pytest.mark.parametrize(("target", "low", "high"), [("bug", 0.04, 0.25), ("risk", 0.3, 0.75), ("anomaly", 0.01, 0.06)])
def test_outcomes_are_as_rare_as_they_should_be(rows: Rows, target: str, low: float, high: float) -> None:
    assert low < np.nanmean(rows.targets[target]) < high


def test_a_plain_baseline_finds_it_as_hard_as_recorded_commits(rows: Rows) -> None:
    """Recorded commits give a logistic regression an area of about 0.71 to 0.78."""
    divided = parts(rows, "bug", cuts(rows), keep_projects(rows, 0))
    answers = plain("bug", divided.known, divided.later, READS["code_bugs"])
    assert 0.66 < auc(divided.later.targets["bug"], answers) < 0.82


def test_projects_differ(rows: Rows) -> None:
    commits = rows.kinds == "commit"
    shares = [np.nanmean(rows.targets["bug"][commits & (rows.projects == one)]) for one in np.unique(rows.projects)]
    assert max(shares) > 2 * min(shares)


def test_a_project_whose_repairs_break_more_than_they_mend_comes_to_an_end() -> None:
    project = SimulatedProject(np.random.default_rng((2, 1)), 4 * 365, 0.05)
    project.run(lambda number: None, lambda time: None)
    assert 1 < len(project.commits) / (MOST_A_DAY * 4 * 365) < 2


def test_an_old_project_is_repaired_to_the_last() -> None:
    project = SimulatedProject(np.random.default_rng((0, 6)), 12 * 365, 0.05)
    project.run(lambda number: None, lambda time: None)
    assert any(commit.repaired for commit in project.commits if commit.time > 11 * 365)


def test_a_repair_comes_after_the_commit_that_it_repairs() -> None:
    project = SimulatedProject(np.random.default_rng(0), 700, 0.05)
    project.run(lambda number: None, lambda time: None)
    repairs = [(number, one) for number, commit in enumerate(project.commits) for one in commit.repaired]
    assert repairs
    assert all(one < number for number, one in repairs)
    assert all(at > project.commits[one].time for one, at in project.blamed.items())
