"""Reports say what the log says, when they are due, and what could not have been seen."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DRIFT_REPORTS, LABELS, PREDICTIONS, TRUTHS
from marina.monitoring import drift_page, drift_reports, drift_view, held_out_checks, observations, performance
from marina.monitoring.detector_rows import read
from marina.monitoring.drift_watch import DriftWatch
from marina.monitoring.held_out_checks import HeldOutCheck
from marina.monitoring.live_versions import LiveVersions, NotLiveError
from marina.monitoring.performance import Performance
from marina.monitoring.watcher import Watcher
from marina.releases.declarations import digest
from marina.releases.lease import Lease
from marina.settings import Settings
from tests.marina.monitoring.watched import BEGAN, MODEL, VERSION, answers, declare, insert, version

ONE = version(rows=1_500)
NAMES = ("hue", "size")


def report(database: Database, now: float) -> drift_reports.DriftReport:
    with database.reading() as connection:
        return drift_reports.report(connection, ONE, 0.9, None, now)


def test_a_healthy_week_has_no_effect_and_a_shifted_one_has_it_where_it_is(database: Database) -> None:
    insert(database, answers(2_000))
    healthy = report(database, BEGAN + 100_000)
    [week, month] = healthy.windows
    assert (week.days, month.days, week.answers) == (7, 30, 2_000)
    assert week.figures.data_effect is not None and week.figures.data_effect < 0.02
    assert week.figures.prediction_effect is not None and week.figures.prediction_effect < 0.02
    assert not healthy.detected and healthy.recent_confidence is not None and healthy.recent_confidence[1] > 0.001
    assert any(one.about == "answers 'blue'" and 0.11 < one.detectable < 0.4 for one in healthy.detectable)
    insert(database, answers(4_000, first=3_000, hue=1.0, blue=0.5))
    [week, _] = report(database, BEGAN + 100_000).windows
    by_name = {one.name: one for one in week.figures.quantities}
    assert by_name["hue"].moved and by_name["hue"].effect > 0.2
    assert not by_name["size"].moved and by_name["size"].effect < 0.02
    assert week.figures.labels is not None and week.figures.labels.moved and week.figures.labels.effect > 0.2


def test_harm_is_measured_where_labels_came_and_says_of_how_many(database: Database) -> None:
    rows = answers(1_000)
    insert(database, rows)
    truths = [
        {"request_id": row["request_id"], "instance": 0, "label": row["label"] if place % 4 else "green", "time": 1.0}
        for place, row in enumerate(rows[:400])
    ]
    with database.writing() as connection:
        connection.execute(sa.insert(LABELS), truths)
    made = report(database, BEGAN + 100_000)
    shown = made.windows[0].performance
    assert shown.accuracy == pytest.approx(0.75) and shown.effect == pytest.approx(0.15)
    assert "400 of 1,000 answers labelled" in made.harm and "+15.0 points" in made.harm
    assert Performance(1_000, 0, 0, 0.9).effect is None and Performance(9, 4, 3, 0.9).effect == 0.0


def test_what_held_out_rows_show_today_counts_as_labels_do(database: Database) -> None:
    insert(database, answers(1_000))
    checked = HeldOutCheck(BEGAN, "rows", 400, 4, 0.7, 0.65, 0.75)
    with database.writing() as connection:
        held_out_checks.record(connection, MODEL, VERSION, replace(checked, time=BEGAN - 1, accuracy=0.1))
        held_out_checks.record(connection, MODEL, VERSION, checked)
    made = report(database, BEGAN + 100_000)
    assert made.performance_effect == pytest.approx(0.2)
    assert "396 of 400 held-out rows answered now: accuracy 0.700 (0.650 to 0.750), 0.900 at release" in made.harm
    with database.writing() as connection:
        number = drift_reports.store(connection, made)
        row = connection.execute(sa.select(DRIFT_REPORTS).where(DRIFT_REPORTS.c.id == number)).one()
    assert row.performance_drift_score == pytest.approx(0.2)
    assert json.loads(row.details)["held_out_check"]["data"] == "rows"
    assert report(database, BEGAN + 9 * 86_400).held_out_check is None  # too old to speak of today
    assert checked.effect(None) is None and replace(checked, high=0.95).effect(0.9) == 0.0


def test_of_answers_in_parts_the_share_of_the_parts_that_is_right_counts(database: Database) -> None:
    alerts = [{"label": name, "alert": True} for name in ("A@4h", "B@4h")]
    one = {
        "request_id": "r", "model": "m", "version": "1.0", "instance": 0, "time": BEGAN, "picked": True,
        "answer": json.dumps(alerts),
    }  # fmt: skip
    truth = {"request_id": "r", "instance": 0, "kind": "questions", "time": BEGAN + 1, "source": ""}
    with database.writing() as connection:
        connection.execute(sa.insert(PREDICTIONS), one)
        connection.execute(sa.insert(TRUTHS), truth | {"truth": json.dumps({"A@4h": True, "B@4h": False})})
    with database.reading() as connection:
        found = performance.measure(connection, "m", "1.0", BEGAN, BEGAN + 10, 1, 0.9, 1.0)
    assert found.labelled == 1 and found.accuracy == pytest.approx(0.5)


def test_a_report_is_a_row_and_a_page(database: Database, tmp_path: Path) -> None:
    insert(database, answers(600, hue=1.0))
    made = report(database, BEGAN + 100_000)
    with database.writing() as connection:
        number = drift_reports.store(connection, made)
    with database.reading() as connection:
        row = connection.execute(sa.select(DRIFT_REPORTS).where(DRIFT_REPORTS.c.id == number)).one()
        requests = observations.between(connection, MODEL, VERSION, NAMES, BEGAN, BEGAN + 100_000)
    assert row.data_drift_score > 0.2 and row.performance_drift_score is None and not row.drift_detected
    assert json.loads(row.details)["windows"][0]["answers"] == 600
    html = drift_page.render(made, ONE.watchlist, requests)
    assert html.count("<svg") == 1 and "hue" in html and "not watched yet" in html
    assert "not watched yet" in drift_view.state(made)


def test_what_is_not_known_yet_is_said(database: Database) -> None:
    insert(database, answers(700))
    DriftWatch(database).step(ONE, BEGAN + 1_000_000)
    with database.reading() as connection:
        watched = read(connection, MODEL, VERSION, ONE.sha256, ONE.watchlist)
        made = drift_reports.report(connection, ONE, None, watched, BEGAN + 100_000)
    assert made.batches_missing == 21
    assert drift_view.state(made).startswith("needs 21 more batches")


@pytest.mark.parametrize(
    ("hours_since", "answered", "due"),
    [(None, 5, True), (None, 0, False), (2.0, 3, True), (0.5, 3, False), (0.5, 1_000, True), (0.1, 1_000, False)],
)
def test_reports_are_due_at_one_and_after_a_thousand_answers(
    hours_since: float | None, answered: int, due: bool
) -> None:
    now = time.mktime((2026, 3, 10, 2, 0, 0, 0, 0, -1))
    last = None if hours_since is None else now - 3600 * hours_since
    assert drift_reports.due(last, now, 1, answered, 1_000) == due


def test_of_past_days_the_last_report_is_kept(database: Database) -> None:
    insert(database, answers(50))
    made = report(database, BEGAN + 100_000)
    day = drift_reports.DAY_S
    times = [BEGAN, BEGAN + 60, BEGAN + 120, BEGAN + 3 * day, BEGAN + 3 * day + 60]
    with database.writing() as connection:
        for at in times:
            drift_reports.store(connection, replace(made, created_at=at))
        assert drift_reports.thin(connection, MODEL, VERSION, BEGAN + 4 * day) == 2
        kept = connection.execute(sa.select(DRIFT_REPORTS.c.created_at).order_by(DRIFT_REPORTS.c.id)).scalars().all()
        assert kept == times[2:]
        assert drift_reports.thin(connection, "another", VERSION, BEGAN + 1_000 * day) == 0
        assert drift_reports.thin(connection, MODEL, VERSION, BEGAN + 1_000 * day) == 3


def test_versions_are_found_by_their_declarations(database: Database, tmp_path: Path) -> None:
    path = declare(database, tmp_path / "store")
    settings = Settings(state_dir=tmp_path, archive_store=tmp_path / "store")
    versions = LiveVersions(settings)
    with database.reading() as connection:
        [live] = versions.find(connection, BEGAN + 5)
        assert live.held_out == 0.9 and live.version.since == BEGAN
        assert live.version.watchlist.streams == ONE.watchlist.streams
        with pytest.raises(NotLiveError, match=f"declared: {MODEL}"):
            versions.choose(connection, BEGAN, "another")
        path.unlink()
        assert LiveVersions(settings).find(connection, BEGAN) == []
        assert versions.find(connection, BEGAN) == [live]  # it was read once


def test_the_watcher_steps_over_what_it_cannot_read_and_reports_what_it_can(database: Database, tmp_path: Path) -> None:
    path = declare(database, tmp_path / "store")
    insert(database, answers(600))
    settings = Settings(state_dir=tmp_path, archive_store=tmp_path / "store")
    watcher = Watcher(settings, database, Lease("watcher", "a test"))
    assert watcher.step(BEGAN + 1_000_000) is False
    with database.reading() as connection:
        assert read(connection, MODEL, VERSION, digest(path), ONE.watchlist) is not None
        assert drift_reports.last_report_at(connection, MODEL, VERSION) == BEGAN + 1_000_000
