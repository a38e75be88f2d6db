import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from events.access import Key, Window, access_logs, add_windows, read_windows
from events.database import Database
from events.latencies import bucket, from_json
from events.tables import EVIDENCE

LINE = {
    "time": "2026-01-01T00:00:00+00:00", "id": "r", "msec": 1003.5, "model": "m", "version": "1", "picked": "1",
    "status": 200, "seconds": 0.004, "attempts": 1, "upstream": "200", "method": "POST", "path": "/predictions/m",
    "client": "127.0.0.1",
}  # fmt: skip


def line(**changes: Any) -> bytes:
    return json.dumps(LINE | changes).encode()


def test_requests_errors_and_latencies_are_counted_by_version_and_window() -> None:
    windows, malformed = read_windows(
        [line(), line(msec=1004.999, seconds=0.1), line(msec=1005.0), line(version="2", status=500), line(status=500)]
    )
    assert malformed == 0
    assert windows == {
        Key("m", "1", 1000): Window(3, 1, {bucket(4): 2, bucket(100): 1}),
        Key("m", "1", 1005): Window(1, 0, {bucket(4): 1}),
        Key("m", "2", 1000): Window(1, 1, {bucket(4): 1}),
    }


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"status": 429, "upstream": "503"}, 1),
        ({"status": 429, "upstream": ""}, 0),
        ({"status": 499}, 0),
        ({"status": 422}, 0),
        ({"status": 504}, 1),
        ({"picked": 1}, 0),
    ],
)
def test_an_error_is_what_the_version_is_to_blame_for(changes: dict[str, Any], errors: int) -> None:
    windows, _ = read_windows([line(**changes)])
    assert [(window.requests, window.errors) for window in windows.values()] == [(1, errors)]


@pytest.mark.parametrize(
    "changes",
    [
        {"picked": "0"},
        {"picked": ""},
        {"version": ""},
        {"path": "/explanations/m"},
        {"path": "/predictions"},
        {"status": 503, "upstream": "502, 502, 502"},
    ],
)
def test_what_was_not_the_gateways_choice_or_reached_no_model_server_is_no_evidence(changes: dict[str, Any]) -> None:
    assert read_windows([line(**changes)]) == ({}, 0)


def test_lines_that_are_none_are_counted() -> None:
    old = {name: value for name, value in LINE.items() if name != "picked"}  # written before versions were picked
    assert read_windows([json.dumps(old).encode()]) == ({}, 0)
    assert read_windows([line(picked="0", path="/\ufffd").replace(b"\\ufffd", b"\xff")]) == ({}, 0)
    assert read_windows([b"", b"{", b"[]", b"7", line(msec="now"), line(seconds=None), line()[:-3]]) == ({}, 7)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "m" * 129}, {"model": 7}, {"model": ["m"]}, {"model": "m\0"}, {"model": ""},
        {"version": "1" * 65}, {"version": 1}, {"version": "1\0"},
        {"msec": 1e300}, {"msec": 2**63}, {"msec": -1.0},
    ],
)  # fmt: skip
def test_what_no_database_takes_is_no_line(changes: dict[str, Any], database: Database) -> None:
    windows, malformed = read_windows([line(**changes), line()])
    assert malformed == 1
    with database.writing() as connection:
        add_windows(database, connection, "here", windows)


def test_counts_are_added_to_those_that_are_there(database: Database) -> None:
    late = {Key("m", "1", 5 * at): Window(1, 0, {3: 1}) for at in range(1200)}  # more than one query's keys
    for windows in (late, {Key("m", "1", 10): Window(2, 1, {3: 1, 9: 1})}, {Key("m", "2", 10): Window(1, 1, {0: 1})}):
        with database.writing() as connection:
            add_windows(database, connection, "here", windows)
            add_windows(database, connection, "there", windows)
    with database.reading() as connection:
        rows = connection.execute(sa.select(EVIDENCE).where(EVIDENCE.c.replica == "here")).all()
    assert len(rows) == 1201
    [merged] = [row for row in rows if row.start == 10 and row.version == "1"]
    assert (merged.requests, merged.errors, from_json(merged.latencies)) == (3, 1, {3: 2, 9: 1})


def test_logs_are_known_by_what_they_hold_under_any_name(tmp_path: Path) -> None:
    current = tmp_path / "access.jsonl"
    current.write_bytes(line(id="a") + b"\n")
    (tmp_path / "management.jsonl").write_bytes(line(id="x") + b"\n")
    with access_logs(tmp_path) as [log]:
        first = log.key
    current.replace(tmp_path / "access.1.jsonl")
    current.write_bytes(line(id="b"))  # not a whole line yet
    with access_logs(tmp_path) as [log]:
        assert (log.key, log.finished) == (first, False)
    current.write_bytes(line(id="b") + b"\n")
    with access_logs(tmp_path) as logs:
        assert [(log.path.name, log.finished) for log in logs] == [("access.1.jsonl", False), ("access.jsonl", False)]
    current.replace(tmp_path / "access.2.jsonl")
    with access_logs(tmp_path) as logs:
        assert [(log.path.name, log.finished) for log in logs] == [("access.1.jsonl", True), ("access.2.jsonl", False)]


def test_a_log_that_is_rotated_between_two_looks_is_not_met_twice(tmp_path: Path) -> None:
    (tmp_path / "access.jsonl").write_bytes(line() + b"\n")
    (tmp_path / "access.1.jsonl").hardlink_to(tmp_path / "access.jsonl")
    with access_logs(tmp_path) as logs:
        assert [log.path.name for log in logs] == ["access.1.jsonl"]
