import json
import re

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import EVIDENCE, LABELS, POSITIONS, PREDICTIONS, ROLLOUTS, VERDICTS
from marina.events import latency_histogram
from marina.events.metrics import LATE_S, Metrics
from marina.events.offsets import add_warnings

START = 1_700_000_000


def window(start: int, requests: int, errors: int = 0, ms: float = 20.0) -> dict[str, object]:
    row = {"model": "m", "version": "1.0", "replica": f"r{ms}", "start": start, "requests": requests, "errors": errors}
    return row | {"latencies": latency_histogram.to_json({latency_histogram.bucket(ms): requests})}


def scraped(metrics: Metrics, database: Database, now: float) -> dict[str, float]:
    with database.reading() as connection:
        text = metrics.text(connection, now)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+\{([a-z_]+="([^"\\]|\\.)*",?)*\} [-+0-9.e]+', line) for line in lines)
    return {line.rpartition(" ")[0].replace('model="m",version="1.0"', "V"): float(line.split()[-1]) for line in lines}


def add(database: Database, table: sa.Table, *rows: dict[str, object]) -> None:
    with database.writing() as connection:
        for row in rows:
            connection.execute(sa.insert(table), row)


def test_counts_of_versions_and_their_histogram(database: Database) -> None:
    metrics = Metrics(START + 2.0)
    add(database, EVIDENCE, window(START - 5, 1000), window(START, 8, 1, ms=20.0), window(START, 2, ms=300.0))
    got = scraped(metrics, database, START + 10.0)
    assert got["marina_requests_total{V}"] == 10 and got["marina_errors_total{V}"] == 1
    buckets = [got[f'marina_request_seconds_bucket{{V,le="{le}"}}'] for le in ("0.01", "0.025", "0.25", "0.5", "+Inf")]
    assert buckets == [0, 8, 8, 10, 10] and got["marina_request_seconds_count{V}"] == 10
    assert abs(got["marina_request_seconds_sum{V}"] - 0.76) < 0.02


def test_warnings_of_all_replicas_are_counted_by_version(database: Database) -> None:
    for replica, counts in (("here", {("m", "1.0"): 2}), ("there", {("m", "1.0"): 3, ("n", "2"): 1})):
        for _ in range(2):
            with database.writing() as connection:
                add_warnings(database, connection, replica, counts)
    got = scraped(Metrics(START), database, START + 10.0)
    assert got["marina_input_warnings_total{V}"] == 10
    assert got['marina_input_warnings_total{model="n",version="2"}'] == 2


def test_counters_only_grow_whatever_is_deleted_or_comes_late(database: Database) -> None:
    metrics, total = Metrics(START), 0.0
    for turn in range(40):
        start = START + 50 * turn
        add(database, EVIDENCE, window(start, 3), window(max(START, start - 200), 1, ms=100.0 + turn))
        if turn == 20:
            with database.writing() as connection:
                connection.execute(sa.delete(EVIDENCE).where(EVIDENCE.c.start < start - 2 * LATE_S))
        total += 4
        assert scraped(metrics, database, start + 5.0)["marina_requests_total{V}"] == total


def test_a_clock_that_was_ahead_and_is_set_back_stops_no_counter(database: Database) -> None:
    metrics = Metrics(START)
    scraped(metrics, database, START + 100 * 86_400.0)
    scraped(metrics, database, START + 60.0)
    add(database, EVIDENCE, window(START + 60, 3))
    assert scraped(metrics, database, START + 70.0)["marina_requests_total{V}"] == 3


def test_a_scrape_reads_no_more_windows_than_are_new(database: Database) -> None:
    asked: list[tuple[str, object]] = []

    def note(_c: object, _k: object, statement: str, parameters: object, *_: object) -> None:
        if "evidence.latencies" in statement:
            asked.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    scraped(Metrics(START), database, START + 10 * LATE_S)
    sqlite = database.engine.dialect.name == "sqlite"
    assert len(asked) == 2
    for statement, parameters in list(asked):
        with database.reading() as connection:
            if not sqlite:
                connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # so small a table is read whole
            explained = f"{'EXPLAIN QUERY PLAN' if sqlite else 'EXPLAIN'} {statement}"
            plan = " ".join(str(row) for row in connection.exec_driver_sql(explained, parameters))  # type: ignore[arg-type]
        assert "evidence_by_start" in plan, plan


def test_labels_count_when_they_come(database: Database) -> None:
    answer = {"model": "m", "version": "1.0", "instance": 0, "time": START - 99.0, "picked": False, "answer": "[]"}
    add(database, PREDICTIONS, *(answer | {"request_id": name, "label": "cat"} for name in "abc"))
    metrics = Metrics(START)
    for name, label, time in (("a", "cat", START - 1.0), ("b", "cat", START + 1.0), ("c", "dog", START + 400.0)):
        add(database, LABELS, {"request_id": name, "instance": 0, "label": label, "time": time})
    for now in (START + 500.0, START + 2000.0):
        got = scraped(metrics, database, now)
        assert got["marina_labels_total{V}"] == 2 and got["marina_right_answers_total{V}"] == 1


def test_open_rollouts_are_there_with_the_last_verdicts_evidence(database: Database) -> None:
    rollout = {
        "model": 'a "b"\\', "stable": "1.0", "canary": "2.0", "phase": "watching", "step": 1, "paused": False,
        "policy": "{}", "started_by": "ada", "started_at": 1.0, "phase_since": 1.0, "note": "",
    }  # fmt: skip
    add(database, ROLLOUTS, rollout, rollout | {"phase": "done", "ended_at": 2.0})
    finding = {"gate": "errors", "log_harm_needed": 4.0, "log_fine_needed": 5.0}
    for time, harm in ((1.0, -1.0), (2.0, 1.5)):
        findings = json.dumps([finding | {"log_harm": harm, "log_fine": -2.5}])
        verdict = {"rollout": 1, "time": time, "step": 0, "outcome": "keep watching", "evidence": "{}"}
        add(database, VERDICTS, verdict | {"findings": findings})
    add(database, POSITIONS, {"source": "here:8080 count dropped", "position": 7})
    got = scraped(Metrics(0.0), database, 1.0)
    names = 'model="a \\"b\\"\\\\",stable="1.0",canary="2.0"'
    assert got[f'marina_rollout_phase{{{names},phase="watching"}}'] == 1
    assert got[f"marina_rollout_step{{{names}}}"] == 1
    assert got[f'marina_rollout_log_evidence{{{names},gate="errors",of="harm"}}'] == 1.5
    assert got[f'marina_rollout_log_evidence_needed{{{names},gate="errors",of="fine"}}'] == 5
    assert got['marina_log_dropped_total{replica="here:8080"}'] == 7
    assert not any('phase="done"' in name for name in got)
