"""`check_drift.py` and `simulate_drift.py`, as a person uses them."""

from pathlib import Path

import pytest

from marina.database.connection import Database
from marina.monitoring import drift_reports
from marina.monitoring.drift_watch import DriftWatch
from marina.monitoring.live_versions import LiveVersions
from marina.releases import ledger
from marina.settings import read_settings
from scripts import check_drift, simulate_drift
from tests.marina.monitoring.watched import BEGAN, MODEL, answers, declare, insert

NOW = BEGAN + 8_000 * 14


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A model that answers, on SQLite, at a time long ago."""
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("MARINA_ARCHIVE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MARINA_DATABASE_URL", "")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("time.time", lambda: NOW)
    database = Database(read_settings().database)
    database.upgrade()
    declare(database, tmp_path / "store")
    return database


def test_drift_is_shown_with_what_moved_and_a_page(
    watched: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    insert(watched, answers(1_000))
    assert check_drift.main([]) == 0
    assert "not watched yet" in capsys.readouterr().out
    insert(watched, answers(6_000, first=1_000, blue=0.9))
    with watched.reading() as connection:
        [live] = LiveVersions(read_settings()).find(connection, NOW)
    while DriftWatch(watched).step(live.version, NOW):
        pass
    page = tmp_path / "drift.html"
    assert check_drift.main(["--model", MODEL, "--window", "30d", "--html", str(page)]) == 2
    shown = capsys.readouterr().out
    assert "DRIFT (critical): answers 'blue'" in shown and "scripts/alerts.py" in shown
    assert "<svg" in page.read_text() and "DRIFT (critical)" in page.read_text()
    watched.close()


def test_what_counts_as_drift_can_be_changed_with_a_reason(
    watched: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_drift.main(["--model", MODEL, "--set", "tolerance=0.05"]) == 1
    assert check_drift.main(["--set", "tolerance=0.05", "--why", " "]) == 1
    assert check_drift.main(["--set", "loudness=1", "--why", "so"]) == 1
    assert check_drift.main(["--set", "alert=0.01", "--why", "so"]) == 1
    assert "expected three levels" in capsys.readouterr().err
    assert check_drift.main(["--set", "budget=0.1", "--why", "for all"]) == 0
    assert check_drift.main(["--model", MODEL, "--set", "tolerance=0.05", "--why", "weekends differ"]) == 0
    with watched.reading() as connection:
        [live] = LiveVersions(read_settings()).find(connection, NOW)
        [first, second] = list(ledger.entries(connection))
        assert ledger.verify(connection) == []
    assert (live.version.settings.tolerance, live.version.settings.budget) == (0.05, 0.1)
    assert first.model == "" and second.said["why"] == "weekends differ" and second.said["to"]["tolerance"] == 0.05
    watched.close()


def test_a_shift_that_has_not_happened_is_seen_and_named(
    watched: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--repetitions", "3", "--requests", "200"]
    assert simulate_drift.main(["--model", MODEL, "--shift", "hue=+1", *few]) == 0
    assert "seen after" in (shown := capsys.readouterr().out) and "name hue" in shown
    archive = str(tmp_path / "store" / f"{MODEL}-1.0.mar")
    assert simulate_drift.main(["--reference-dist", archive, "--shift", "label:blue=0.4", *few]) == 0
    assert "answers 'blue'" in capsys.readouterr().out
    for wrong in ("hue", "colour=+1", "drift=2", "label:green=0.1"):
        assert simulate_drift.main(["--model", MODEL, "--shift", wrong, *few]) == 1
        assert "--shift" in capsys.readouterr().err
    watched.close()


def test_reports_of_the_command_are_those_that_are_kept(watched: Database) -> None:
    insert(watched, answers(500))
    with watched.reading() as connection:
        [live] = LiveVersions(read_settings()).find(connection, NOW)
    assert drift_reports.store_if_due(watched, live.version, live.held_out, None, NOW, 1, 1_000) == 1
    assert drift_reports.store_if_due(watched, live.version, live.held_out, None, NOW + 60, 1, 1_000) is None
    watched.close()
