"""Decisions about phases and the week's report: what is missing is no pass, and each figure says where it is from."""

import json
import sqlite3
import time
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from archives.archive import open_archive
from marina.database.backup_tables import BACKUPS
from marina.database.connection import Database
from marina.database.loop_tables import LOOP_STEPS, TRAININGS
from marina.database.raw_tables import RAW_BATCHES, RAW_ROWS
from marina.database.tables import EVIDENCE, LABELS, PREDICTIONS, ROLLOUTS
from marina.events import latency_histogram
from marina.pipelines import figures
from marina.pipelines.data_quality import read_quality
from marina.pipelines.feature_importance import importances, stability
from marina.pipelines.go_no_go import Criterion, Evidence, Phase, decide
from marina.pipelines.weekly_report import OF_NOW, make_report, training_seconds
from marina.serving.stub_archive import build_stub, build_variant
from marina.settings import Settings
from scripts import go_no_go, weekly_report

NOW = time.time()
DAY_S = 86_400.0
KEY_FIGURES = "Key figures of the household budget"
METRICS = """# HELP marina_answer_cache_total Looks.
marina_answer_cache_total{replica="a:1",level="memory",outcome="hit"} 30
marina_answer_cache_total{replica="a:1",level="memory",outcome="miss"} 10
marina_recommendations_judged{relevant="yes"} 8
marina_recommendations_judged{relevant="no"} 2
marina_process_cpu_seconds_total{part="worker"} 7200.0
"""


def put_archive(folder: Path, model: str, metrics: dict[str, float], version: str = "1.0", **own: object) -> None:
    plain = build_stub(folder, model, version)
    changes = {"provenance.json": json.dumps({"metrics": metrics}).encode(), "family.json": json.dumps(own).encode()}
    plain.write_bytes(build_variant(plain, _made(folder), changes).read_bytes())


def _made(folder: Path) -> Path:
    path = folder / ".varied"
    path.mkdir(exist_ok=True)
    return path


def log_requests(
    database: Database, model: str, count: int, errors: int = 0, ms: float = 20.0, at: float = NOW - 3600
) -> None:
    row = {
        "model": model, "version": "1.0", "replica": "a:1", "start": int(at), "requests": count, "errors": errors,
        "latencies": latency_histogram.to_json({latency_histogram.bucket(ms): count - errors}),
    }  # fmt: skip
    with database.writing() as connection:
        connection.execute(sa.insert(EVIDENCE), [row])


def log_answers(
    database: Database, model: str, right: int, wrong: int, source: str = "rule", at: float = NOW - 3600
) -> None:
    rows, labels = [], []
    for number in range(right + wrong):
        name = f"{model}-{at:.0f}-{number}"
        answer = json.dumps([{"label": "food", "source": source}])
        rows.append(
            {
                "request_id": name, "model": model, "version": "1.0", "instance": 0, "time": at, "picked": True,
                "label": "food", "confidence": 0.9, "serving_ms": 4.0, "answer": answer, "client": number % 3,
            }
        )  # fmt: skip
        truth = "food" if number < right else "rent"
        labels.append({"request_id": name, "instance": 0, "label": truth, "time": NOW - 60})
    with database.writing() as connection:
        connection.execute(sa.insert(PREDICTIONS), rows)
        connection.execute(sa.insert(LABELS), labels)


def settings_of(folder: Path, **values: float) -> Settings:
    (folder / "store").mkdir(exist_ok=True)
    return Settings(state_dir=folder, archive_store=folder / "store", **values)  # type: ignore[arg-type]


def decided(database: Database, settings: Settings, phase: Phase, samples: str = METRICS) -> dict[str, Criterion]:
    with database.reading() as connection:
        evidence = Evidence(settings, connection, figures.parse_metrics(samples), NOW - 30 * DAY_S, NOW + 60)
        return {one.name: one for one in decide(phase, evidence)}


def test_without_data_nothing_passes(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for phase in ("2a", "2b", "2c"):
        found = decided(database, settings, phase, "").values()
        assert {one.verdict for one in found} == {"no data"} and all(one.figure.source for one in found), phase


def test_rules_and_cache_pass_by_archive_log_and_metrics(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put_archive(
        settings.archive_store, "budget_categorizer", {"rules_coverage": 0.77, "rules_precision": 0.95},
        rules=[{}] * 60,
    )  # fmt: skip
    log_requests(database, "budget_categorizer", 2000, errors=1)
    log_answers(database, "budget_categorizer", 5, 0)
    found = decided(database, settings, "2a")
    assert {one.verdict for one in found.values()} == {"pass"}, found
    assert found["looks into the cache that found an answer"].figure.value == 0.75
    assert "archive" in found["rules"].figure.source and "log" in found["availability"].figure.source
    log_requests(database, "budget_categorizer", 1000, errors=90, ms=700.0, at=NOW - 7200)
    found = decided(database, settings, "2a")
    failed = {name for name, one in found.items() if one.verdict == "fail"}
    assert failed == {"time of the rules' path, p95", "time of an answer, p95", "availability"}


def test_feedback_counts_before_the_archive_once_there_is_enough(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put_archive(settings.archive_store, "budget_categorizer", {"accuracy": 0.99, "coverage": 0.95})
    put_archive(settings.archive_store, "budget_anomaly", {"suspicious.false_positives": 0.06})
    log_answers(database, "budget_categorizer", 40, 20)
    accuracy = decided(database, settings, "2b")["accuracy of categories"]
    assert accuracy.verdict == "pass" and "evaluation" in accuracy.figure.source
    log_answers(database, "budget_categorizer", 40, 20, at=NOW - 7000)
    found = decided(database, settings, "2b")
    accuracy = found["accuracy of categories"]
    assert accuracy.verdict == "fail" and accuracy.figure.value == pytest.approx(2 / 3)
    assert "feedback, 120 labels" in accuracy.figure.source
    assert found["usual transactions reported"].verdict == "fail"
    test = {
        "model": "budget_categorizer", "stable": "1.0", "canary": "2.0", "step": 0, "paused": False, "started_by": "a",
        "started_at": 1.0, "phase_since": 1.0, "ended_at": 2.0, "note": "",
    }  # fmt: skip
    with database.writing() as connection:
        for phase, policy in (("rolled_back", '{"test": {}, "x": 1}'), ("done", '{"test": null}')):
            connection.execute(sa.insert(ROLLOUTS), test | {"phase": phase, "policy": policy})
        connection.execute(sa.insert(ROLLOUTS), test | {"phase": "rolled_back", "policy": '{"test": {"days": 7}}'})
    assert decided(database, settings, "2b")["A/B tests that ended with the hybrid"].verdict == "fail"
    with database.writing() as connection:
        connection.execute(sa.insert(ROLLOUTS), test | {"phase": "done", "policy": '{"test": {"days": 7}}'})
    assert decided(database, settings, "2b")["A/B tests that ended with the hybrid"].verdict == "pass"


def test_the_command_ends_with_0_only_if_all_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tmp_path)
    for name, value in (("STATE_DIR", tmp_path), ("ARCHIVE_STORE", settings.archive_store)):
        monkeypatch.setenv(f"MARINA_{name}", str(value))
    database = Database(settings.database)
    database.upgrade()
    (tmp_path / "metrics.txt").write_text(METRICS)
    command = ["--phase", "2c", "--metrics", str(tmp_path / "metrics.txt")]
    assert go_no_go.main(command) == 1
    assert "NO GO" in capsys.readouterr().out
    put_archive(settings.archive_store, "budget_forecast", {"mape": 0.18, "total.day_15.mape": 0.12})
    log_requests(database, "budget_forecast", 1000)
    database.close()
    assert go_no_go.main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["go"] and {one["verdict"] for one in said["criteria"]} == {"pass"}
    assert go_no_go.main([*command[:2], "--metrics", str(tmp_path / "nowhere.txt")]) == 2
    assert go_no_go.main([*command[:2], "--metrics", "http://127.0.0.1:9/metrics"]) == 2

    assert weekly_report.main(["--out", str(tmp_path / "week"), *command[2:]]) == 0
    page, text = (tmp_path / "week.html").read_text(), (tmp_path / "week.md").read_text()
    for part in ("Availability", "100.00%", "Data quality", "75.00%", "budget_forecast"):
        assert part in page and part in text
    assert weekly_report.main(["--out", str(tmp_path / "no" / "week")]) == 1

    kept = tmp_path / "reports"
    kept.mkdir()
    for name in ("weekly-2020-W09.md", "weekly-2020-W10.md", "weekly-2020-W10.html", "weekly-mine.md"):
        (kept / name).touch()
    capsys.readouterr()
    assert weekly_report.main(["--json", "--keep", "2"]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])["files"]
    assert len(made) == 2 and all(Path(one).is_file() for one in made)
    assert {one.name for one in kept.iterdir()} == {
        "weekly-2020-W10.md", "weekly-2020-W10.html", "weekly-mine.md", *(Path(one).name for one in made),
    }  # fmt: skip
    assert weekly_report.main(["--json", "--keep", "2", "--until", "2019-06-03"]) == 0
    assert all(Path(one).is_file() for one in json.loads(capsys.readouterr().out.splitlines()[-1])["files"])


def test_the_management_token_is_sent_to_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, bool] = {}

    def get(url: str, headers: dict[str, str], timeout: float) -> httpx.Response:
        sent[url] = "Authorization" in headers
        return httpx.Response(200, text=METRICS, request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx, "get", get)
    hosts = {"127.0.0.1": True, "localhost": True, "[::1]": True, "metrics.example": False, "127.0.0.1.example": False}
    for host in hosts:
        assert figures.read_metrics(settings_of(tmp_path), f"http://{host}:8081/metrics")
    assert sent == {f"http://{host}:8081/metrics": to for host, to in hosts.items()}


def test_data_quality_is_the_mean_of_its_four_shares(database: Database) -> None:
    batch = {
        "family": "catalog", "batch": "b", "source": "a.csv", "state": "done", "rows": 100, "added": 80, "repeated": 10,
        "bad": 10, "account": "{}", "imported_at": NOW - 35 * DAY_S,
    }  # fmt: skip
    row = {
        "family": "catalog", "kind": "rows", "sha256": "", "moment": 0.0, "batch": "b", "imported_at": NOW, "week": "",
    }  # fmt: skip
    contents = ({"title": "a", "text": ""}, {"title": "b", "text": "c"})
    with database.writing() as connection:
        connection.execute(sa.insert(RAW_BATCHES), [batch])
        rows = [row | {"key": str(number), "content": json.dumps(one)} for number, one in enumerate(contents)]
        connection.execute(sa.insert(RAW_ROWS), rows)
    with database.reading() as connection:
        [one] = read_quality(connection, NOW)
    assert one.validity == 0.9 and one.uniqueness == pytest.approx(80 / 90) and one.completeness == 0.75
    assert one.freshness == pytest.approx(0.5) and one.rows == 2 and one.visible == 0
    assert one.score == pytest.approx((0.9 + 80 / 90 + 0.75 + 0.5) / 4)


def test_the_report_has_cost_volume_and_confidence_of_the_week(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, price_cpu_hour=2.0, price_gb_month=1.0)
    put_archive(settings.archive_store, "budget_categorizer", {}, importance={"a": 3.0, "b": 2.0, "c": 1.0})
    put_archive(
        settings.archive_store, "budget_categorizer", {}, version="2.0", importance={"a": 1.0, "b": 2.0, "c": 3.0}
    )
    log_requests(database, "budget_categorizer", 300)
    log_requests(database, "budget_categorizer", 200, at=NOW - 8 * DAY_S)
    log_answers(database, "budget_categorizer", 10, 0)
    training = {
        "key": "k", "family": "stub", "data": "d", "code": "c", "reason": "data", "why": "", "version": "2.0",
        "state": "done", "attempts": 1, "started_at": NOW - 7200, "ended_at": NOW - 3600, "result": "{}",
    }  # fmt: skip
    step = {"run": "weekly", "family": "stub", "attempts": 1, "exit": 0, "ended_at": NOW, "note": "", "result": "{}"}
    trained = json.dumps({"trained": [{"model": name, "version": "2.0"} for name in ("one", "two", "late")]})
    chosen = json.dumps({"outcome": "keep", "why": "no better"})
    steps = [
        {"step": "train", "state": "done", "started_at": NOW - 60, "result": trained},
        {"step": "promote one", "state": "done", "started_at": NOW - 60, "result": chosen},
        {"step": "promote two", "state": "failed", "started_at": NOW - 50, "note": "at first\nit broke\n"},
        {"step": "promote late", "state": "waiting", "started_at": NOW - 20 * DAY_S, "ended_at": NOW - 9 * DAY_S},
        {"step": "promote old", "state": "done", "started_at": NOW - 20 * DAY_S, "ended_at": NOW - 9 * DAY_S},
    ]  # fmt: skip
    with database.writing() as connection:
        connection.execute(sa.insert(TRAININGS), [training])
        connection.execute(sa.insert(LOOP_STEPS), [step | one for one in steps])
    with database.reading() as connection:
        report = make_report(settings, connection, figures.parse_metrics(METRICS), NOW + 1, "a week")
    tables = {one.title: one.rows for one in report.sections}
    assert tables["Decisions"] == [
        ("late 2.0", "weekly", "waits", ""), ("one 2.0", "weekly", "keep", "no better"),
        ("two 2.0", "weekly", "failed", "it broke"),
    ]  # fmt: skip
    assert ("Decisions waiting", "1", "late 2.0") in report.tiles
    assert tables["Cost by family"] == [("stub", "3,600", "0", "0.0", "10", "2.00")]
    assert tables["Requests"][0][:3] == ("budget_categorizer", "300", "200") and tables["Requests"][0][-1] == "+50%"
    assert tables["Mean confidence"] == [("budget_categorizer 1.0", "0.900", "10", "-")]
    assert tables["Processors"] == [("worker", "7,200", "4.00")]
    of_now = [one.title for one in report.sections if OF_NOW in one.about]
    assert of_now == [
        "Decisions",
        "Processors",
        "Storage",
        "Data quality",
        "Stability of feature importance",
        KEY_FIGURES,
    ]
    stable = tables["Stability of feature importance"][0]
    assert stable[1] == "-1.000" and stable[3] == "a 1 to 3, c 3 to 1"
    assert tables[KEY_FIGURES][-1][:2] == ("adoption", "3")
    assert "| worker |" in report.to_markdown() and "<table>" in report.to_html()


def test_a_week_that_is_over_has_nothing_of_later(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = tmp_path / "elsewhere.db"
    registry.write_bytes(b"x" * 3_000_000)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{registry}")
    log_answers(database, "budget_anomaly", 10, 0)
    backup = {"replica": "a", "state": "done", "destination": "d", "name": "n", "files": 1, "bytes": 1, "new_bytes": 1}
    with database.writing() as connection:
        for at in (NOW - 10 * DAY_S, NOW):
            connection.execute(sa.insert(BACKUPS), [backup | {"started_at": at, "ended_at": at, "note": ""}])
    with database.reading() as connection:
        report = make_report(settings_of(tmp_path), connection, [], NOW - 8 * DAY_S, "a week")
    assert report.tiles[-1] == ("Backup", "48 h ago", "the last")
    tables = {one.title: one.rows for one in report.sections}
    assert tables[KEY_FIGURES][-1][:2] == ("adoption", "-")
    assert ("registry's database", "3.0", "-") in tables["Storage"]


def test_training_seconds_are_those_of_mlflows_runs_without_trials(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, price_gpu_hour=8.0)
    with sqlite3.connect(tmp_path / "mlflow.db") as runs:
        runs.executescript(
            "CREATE TABLE experiments (experiment_id INTEGER, name TEXT);"
            "CREATE TABLE runs (run_uuid TEXT, experiment_id INTEGER, start_time INTEGER, end_time INTEGER);"
            "CREATE TABLE tags (run_uuid TEXT, key TEXT, value TEXT);"
            "INSERT INTO experiments VALUES (1, 'budget');"
            "INSERT INTO tags VALUES ('trial', 'mlflow.parentRunId', 'a');"
            "INSERT INTO tags VALUES ('a', 'gpu_seconds', '4.5');"
        )
        rows = [("a", 1000), ("trial", 1000), ("old", -9_000_000), ("b", 2000)]
        runs.executemany(
            "INSERT INTO runs VALUES (?, 1, ?, ?)",
            [(name, at, at + 5000 if name != "b" else None) for name, at in rows],
        )
    runs.close()
    with database.reading() as connection:
        assert training_seconds(settings, connection, 0.0, 100.0) == ({"budget": 5.0}, "the runs in MLflow")
        cost = make_report(settings, connection, [], 100.0, "a week").sections[1]
    assert cost.rows == [("budget", "10", "4", "0.0", "0", "0.01")], "4.5 s of a GPU at 8 an hour"


def test_stability_is_a_rank_correlation_of_what_both_have() -> None:
    one = {"a": 3.0, "b": 2.0, "c": 1.0, "only": 9.0}
    assert stability(one, {"a": 30.0, "b": 20.0, "c": 10.0}) == pytest.approx(1.0)
    assert stability(one, {"a": 3.0, "b": 2.0}) is None
    assert stability(one, {"a": 1.0, "b": 1.0, "c": 1.0}) is None


def test_an_archive_without_importance_states_none(tmp_path: Path) -> None:
    assert importances(open_archive(build_stub(tmp_path))) == {}
