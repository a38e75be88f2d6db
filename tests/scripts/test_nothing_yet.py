"""Every report says that there is nothing yet, and what to do, wherever nothing has happened yet."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from marina.database.connection import Database
from marina.rollout import cli
from scripts import check_drift, compare_models, evaluate_models, monitor_canary, shadow_mode_report

Command = Callable[[list[str]], int]
POLICY = "marina/rollout/policy/default.yaml"
REPORTS: dict[str, tuple[Command, list[str], str]] = {
    "shadow": (shadow_mode_report.main, ["--model", "signflow"], "serve.py|shadow start"),
    "shadow, sliced": (
        shadow_mode_report.main,
        ["--model", "x'y", "--version", "2.0", "--slice", "a"],
        "serve.py|shadow start",
    ),
    "monitor": (monitor_canary.main, ["--model", "signflow", "--once"], r"serve\.py|deploy_canary"),
    "compare": (
        compare_models.main,
        ["--baseline", "signflow:1.0", "--candidate", "signflow:2.0"],
        r"There is no signflow-1\.0\.mar in .*Build it",
    ),
    "evaluate": (
        evaluate_models.main,
        ["--models", "signflow:1.0,signflow:2.0", "--data", "synthetic"],
        r"There is no signflow-1\.0\.mar in .*Build it",
    ),
    "drift": (check_drift.main, [], r"serve\.py|No version has traffic"),
    "status": (cli.main, ["status"], "no version is desired"),
    "explain": (cli.main, ["explain", "--model", "signflow"], "There was no rollout of signflow"),
    "simulate": (cli.main, ["simulate", "--model", "signflow", "--policy", POLICY], "There was no rollout of signflow"),
    "replay": (cli.main, ["replay"], "0 of 0 verdicts"),
    "what was live": (cli.main, ["ledger", "what-was-live", "--at", "2026-03-01T12:00"], "nothing was live"),
    "verify": (cli.main, ["ledger", "verify"], "no rows"),
}
STATES = ("no folder", "no file", "an empty file", "no rows")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MARINA_ARCHIVE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MARINA_DATABASE_URL", "")
    return tmp_path / "state"


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("report", REPORTS)
def test_a_report_of_nothing_says_so(state: Path, capsys: pytest.CaptureFixture[str], report: str, kind: str) -> None:
    if kind != "no folder":
        state.mkdir()
    if kind == "an empty file":
        (state / "marina.db").touch()
    if kind == "no rows":
        database = Database(f"sqlite:///{state}/marina.db")
        database.upgrade()
        database.close()
    main, arguments, said = REPORTS[report]
    status = main(arguments)
    printed = "".join(capsys.readouterr())
    assert status in {0, 1}
    assert re.search(said, printed), printed


@pytest.mark.parametrize("report", ["shadow", "monitor", "compare"])
def test_a_report_makes_no_database(state: Path, capsys: pytest.CaptureFixture[str], report: str) -> None:
    main, arguments, _ = REPORTS[report]
    assert main(arguments) == 1
    assert "There is nothing yet: no server has run here" in "".join(capsys.readouterr())
    assert not state.exists()


@pytest.mark.parametrize("report", ["shadow", "monitor", "compare", "status"])
@pytest.mark.parametrize("what", ["words", "folder", "of others"])
def test_a_database_of_no_use_is_explained(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, report: str, what: str
) -> None:
    state.mkdir()
    match what:
        case "words":
            (state / "marina.db").write_text("no database, but long enough to be taken for one\n" * 90)
        case "folder":
            (state / "marina.db").mkdir()
        case _:
            monkeypatch.setenv("MARINA_DATABASE_URL", "postgresql://ada@127.0.0.1:1/marina")
    main, arguments, _ = REPORTS[report]
    assert main(arguments) == 1
    assert re.search("MARINA_DATABASE_URL", "".join(capsys.readouterr()))


def test_archives_are_compared_before_there_is_a_database(
    state: Path, signflow_archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = str(signflow_archive)
    assert compare_models.main(["--baseline", archive, "--candidate", archive]) == 0
    assert "the same inputs, outputs, labels and limits" in capsys.readouterr().out
    assert not state.exists()
