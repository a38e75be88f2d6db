"""What /metrics says beyond what releases are judged by: bounded in series and time, and continued after a restart."""

import hashlib
import json
import re
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import (
    DECLARATIONS,
    DRIFT_DETECTORS,
    DRIFT_REPORTS,
    EVIDENCE,
    LABEL_SETS,
    LABELS,
    PREDICTIONS,
    REPLICAS,
    ROLLOUTS,
)
from marina.events import latency_histogram
from marina.events.metrics import SAVE_S, Metrics
from marina.monitoring.alert_metrics import collect_drift
from marina.monitoring.alerts import Finding, open_alert
from marina.monitoring.answer_metrics import measure_features
from marina.monitoring.api import collectors
from marina.monitoring.server_metrics import ArchiveCheck, classify_refusal
from marina.settings import Settings

NOW = 1_700_000_000.0
SIGNS = [f"sign{number}" for number in range(20)]
MARKET = ["SPIKE_LIKELY@4h", "VOLATILITY_SPIKE_IMMINENT@48h"]
MODELS = {"signflow": SIGNS, "market_alerts": MARKET, "budget_anomaly": []}
MOST_SERIES = 400


def declare(database: Database, folder: Path) -> None:
    with database.writing() as connection:
        for model, labels in MODELS.items():
            row = {"model": model, "version": "1.0", "archive": f"{folder}/{model}.mar", "sha256": "0" * 64}
            rest = {"weight": 1.0, "input_share": 0.0, "declared_at": 1.0, "signed_by": "", "workers": 0}
            connection.execute(sa.insert(DECLARATIONS), row | rest)
            connection.execute(sa.insert(LABEL_SETS), {"model": model, "version": "1.0", "labels": json.dumps(labels)})


def answers(count: int, start: float = NOW) -> list[dict[str, object]]:
    """Return mixed answers, some with labels that no contract has."""
    rows: list[dict[str, object]] = []
    for number in range(count):
        model = list(MODELS)[number % 3]
        labels = MODELS[model]
        label = labels[number % len(labels)] if labels else None
        if number % 10 == 0:
            label = f"unheard of {number}"
        severity = json.dumps((None, "S2", "S3")[number // 3 % 3])
        answer = f'[{{"label":"{label}","severity":{severity}}},{{"label":"x","severity":"S3"}}]'
        rows.append({
            "request_id": f"r{number}", "model": model, "version": "1.0", "instance": 0, "time": start + number / 1000,
            "picked": True, "label": label, "confidence": 0.9, "value": None, "serving_ms": 1.0, "answer": answer,
            "client": None,
        })  # fmt: skip
    return rows


def scrape(metrics: Metrics, database: Database, now: float) -> dict[str, float]:
    with database.reading() as connection:
        text = metrics.text(connection, now)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+\{([a-z_]+="([^"\\]|\\.)*",?)*\} [-+0-9.e]+', line) for line in lines)
    assert len({line.rpartition(" ")[0] for line in lines}) == len(lines)
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_10000_mixed_requests_make_no_series_that_no_contract_names(database: Database, tmp_path: Path) -> None:
    declare(database, tmp_path)
    rows = answers(10_000)
    with database.writing() as connection:
        connection.execute(sa.insert(PREDICTIONS), rows)
        labels = [{"request_id": f"r{n}", "instance": 0, "label": "sign0", "time": NOW + 60} for n in range(0, 3000, 3)]
        connection.execute(sa.insert(LABELS), labels)
        rollout = {
            "model": "market_alerts", "stable": "1.0", "canary": "2.0", "phase": "watching", "step": 1, "policy": "{}",
            "paused": False, "started_by": "ada", "started_at": NOW - 7200, "phase_since": 1.0, "note": "",
        }  # fmt: skip
        connection.execute(sa.insert(ROLLOUTS), rollout)
    settings = Settings(state_dir=tmp_path / "state")
    got = scrape(Metrics(NOW, collectors(settings)), database, NOW + 20.0)
    assert len(got) < MOST_SERIES
    assert not any("unheard" in name for name in got)
    signs = {name: count for name, count in got.items() if name.startswith("signflow_inference_total{")}
    assert len(signs) == 19 and sum(signs.values()) == 3334
    assert signs['signflow_inference_total{model_version="1.0",sign="other"}'] == 334
    of_market = {name: n for name, n in got.items() if name.startswith("crypto_rebal_ml_predictions_total{")}
    assert sum(of_market.values()) == 3333 and len(of_market) == 9
    assert any('horizon="48",severity="S3"' in name for name in of_market)
    assert any('horizon="4",severity="none"' in name for name in of_market)
    assert got['signflow_prediction_confidence{sign="other"}'] == pytest.approx(0.9)
    lag = got['marina_label_lag_seconds{model="signflow",version="1.0"}']
    assert 55 < lag < 61
    assert got["crypto_rebal_ml_ab_tests_active{}"] == 1
    assert got['crypto_rebal_ml_ab_test_duration_hours{test_id="1"}'] == pytest.approx(2.0, abs=0.01)
    assert got["marina_spool_limit_bytes{}"] == settings.spool_limit_bytes


def test_a_scrape_at_100000_predictions_is_short(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/marina.db")
    database.upgrade()
    declare(database, tmp_path)
    with database.writing() as connection:
        connection.execute(sa.insert(PREDICTIONS), answers(100_000, NOW - 3600))
    metrics = Metrics(NOW, collectors(Settings(state_dir=tmp_path / "state")))
    scrape(metrics, database, NOW)
    spent = time.process_time()
    scrape(metrics, database, NOW + 15.0)
    assert time.process_time() - spent < 1.0  # about 0.1 where nothing else runs
    database.close()


def test_counters_continue_after_a_restart_and_count_what_came_meanwhile(database: Database, tmp_path: Path) -> None:
    declare(database, tmp_path)

    def window(start: float) -> None:
        row = {"model": "signflow", "version": "1.0", "replica": f"r{start}", "start": int(start), "requests": 10}
        latencies = latency_histogram.to_json({latency_histogram.bucket(20.0): 10})
        with database.writing() as connection:
            connection.execute(sa.insert(EVIDENCE), row | {"errors": 1, "latencies": latencies})

    first = Metrics(NOW)
    window(NOW + 10)
    first.count_feedback("client-1", ["recorded"])
    with database.writing() as connection:
        connection.execute(sa.insert(PREDICTIONS), answers(30, NOW + 5))
    before = scrape(first, database, NOW + 1000)
    first.save(database, "here", NOW + 1000)
    window(NOW + 1100)
    second = Metrics(NOW + 2000)
    with database.reading() as connection:
        second.restore(connection, "here")
    after = scrape(second, database, NOW + 2000)
    name = '{model="signflow",version="1.0"}'
    assert (before[f"marina_requests_total{name}"], after[f"marina_requests_total{name}"]) == (10, 20)
    for series, count in before.items():
        if "_total" in series and "marina_feedback" not in series:
            assert after[series] >= count, series
    assert after['marina_feedback_labels_total{source="client-1",outcome="recorded"}'] == 1
    second.save(database, "here", NOW + 2000 + SAVE_S / 2)  # too soon
    with database.reading() as connection:
        third = Metrics(NOW)
        third.restore(connection, "nowhere")
    assert f"marina_requests_total{name}" in scrape(third, database, NOW + 2000)


def test_drift_is_written_with_what_it_has_cost(database: Database, tmp_path: Path) -> None:
    declare(database, tmp_path)
    detector = {
        "model": "signflow", "version": "1.0", "sha256": "0", "started_at": NOW, "time": NOW, "request_id": "r",
        "instance": 0, "batches": 3, "requests": 768, "state": b"", "evidence": 7.5, "needed": 8.0, "moved": "[]",
    }  # fmt: skip
    report = {"report_date": "2026-11-27", "model": "signflow", "version": "1.0", "drift_detected": False}
    with database.writing() as connection:
        connection.execute(sa.insert(DRIFT_DETECTORS), detector)
        connection.execute(sa.insert(DRIFT_DETECTORS), detector | {"model": "catalog", "evidence": None})
        for at, lost in ((1.0, None), (2.0, [3.0, 1.0, 5.0])):
            details = json.dumps({"windows": [{"performance": {"lost": lost}}]})
            connection.execute(sa.insert(DRIFT_REPORTS), report | {"details": details, "created_at": NOW - 10 + at})
        details = json.dumps({"windows": [{"performance": {"lost": None}}]})
        connection.execute(
            sa.insert(DRIFT_REPORTS), report | {"model": "catalog", "details": details, "created_at": NOW}
        )
    with database.reading() as connection:
        lines = "".join(line for family in collect_drift(connection, NOW) for line in family)
    assert 'marina_drift_log_evidence{model="signflow",version="1.0"} 7.5' in lines
    assert 'marina_drift_log_evidence_needed{model="signflow",version="1.0"} 8.0' in lines
    assert 'marina_accuracy_lost_points{model="signflow",version="1.0",bound="lower"} 1.0' in lines
    assert "catalog" not in lines


def test_open_alerts_are_counted_by_level(database: Database, tmp_path: Path) -> None:
    found = Finding("m", "1.0", "drift", "labels", "critical", "moved", NOW, 0.1, 9.0, 8.0, "", "")
    open_alert(database, found, NOW)
    got = scrape(Metrics(NOW, collectors(Settings(state_dir=tmp_path))), database, NOW)
    assert got['marina_alerts_open{of="detector",level="critical"}'] == 1
    assert got['marina_alerts_open{of="rule",level="critical"}'] == 0
    assert got['marina_detector_alerts_unseen{model="m",version="1.0",level="critical"}'] == 1


def test_an_archive_that_changes_on_the_disk_is_found(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "signflow.mar"
    path.write_bytes(b"as built")
    declare(database, tmp_path)
    sha256 = hashlib.sha256(b"as built").hexdigest()
    with database.writing() as connection:
        connection.execute(sa.update(DECLARATIONS).values(sha256=sha256))
    check = ArchiveCheck(tmp_path / "declared")

    def intact() -> list[str]:
        with database.reading() as connection:
            return [line.strip() for family in check.collect(connection, NOW) for line in family if line[0] != "#"]

    name = 'marina_archive_intact{model="signflow",version="1.0"}'
    assert intact() == [f"{name} 1"] == intact()
    path.write_bytes(b"altered!")
    assert intact() == [f"{name} 0"]


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("model.onnx was altered after certification: SHA-256 12…, certified 34…", "corrupt"),
        ("m 1.0: a.mar is no longer what was declared. Declare it again with --archive.", "corrupt"),
        ("a.mar may not be deployed:\n  - model.onnx: is a pickle", "corrupt"),
        ("a.mar.sig: the signature of ab… is not valid: it was changed", "signature"),
        ("a.mar is signed with ab…, which was revoked", "signature"),
        ("golden input case0: largest gap 0.3, tolerance 0.01", "certificate"),
        ("ONNX Runtime does not load m 1.0", "other"),
        ("", "other"),
    ],
)
def test_a_refusal_is_counted_by_its_cause(reason: str, cause: str) -> None:
    assert classify_refusal(reason) == cause


def test_states_and_refusals_of_live_servers_are_written(database: Database, tmp_path: Path) -> None:
    row = {"model": "m", "version": "1.0", "sha256": "0", "weight": 1.0, "seen_at": time.time()}
    with database.writing() as connection:
        for replica, state, reason in (("a", "ready", ""), ("b", "refused", "x was altered")):
            connection.execute(sa.insert(REPLICAS), row | {"replica": replica, "state": state, "reason": reason})
    got = scrape(Metrics(NOW, collectors(Settings(state_dir=tmp_path))), database, NOW)
    assert got['marina_version_servers{model="m",version="1.0",state="ready"}'] == 1
    assert got['marina_version_refused{model="m",version="1.0",cause="corrupt"}'] == 1
    assert got["marina_servers{}"] == 2


def test_features_are_measured_by_name() -> None:
    found = measure_features(["[0,1.5,null]", "[0,0,2]", None, "[1]"], ("a", "b", "c"))
    assert found is not None and found.zero == pytest.approx(0.5)
    assert found.quality == {"a": 1.0, "b": 1.0, "c": 0.5}
    assert measure_features([None], ("a",)) is None and measure_features(["[]"], ()) is None
