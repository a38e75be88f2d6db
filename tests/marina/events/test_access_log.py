import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import EVIDENCE
from marina.events.access_log import Key, Request, Window, access_logs, add_windows, read_requests, windows_of
from marina.events.latency_histogram import bucket, from_json

LINE = {
    "time": "2026-01-01T00:00:00+00:00", "id": "r", "msec": 1003.5, "model": "m", "version": "1", "picked": "1",
    "status": 200, "seconds": 0.004, "attempts": 1, "upstream": "200", "method": "POST", "path": "/predictions/m",
    "client": "127.0.0.1",
}  # fmt: skip


def read_windows(lines: list[bytes]) -> tuple[dict[Key, Window], int]:
    requests, malformed = read_requests(lines)
    return windows_of(requests), malformed


def read(**changes: Any) -> Request:
    [one], malformed = read_requests([line(**changes)])
    assert malformed == 0
    return one


def line(**changes: Any) -> bytes:
    return json.dumps(LINE | changes).encode()


def test_requests_errors_and_latencies_are_counted_by_version_and_window() -> None:
    windows, malformed = read_windows(
        [line(), line(msec=1004.999, seconds=0.1), line(msec=1005.0), line(version="2", status=500), line(status=500)]
    )
    assert malformed == 0
    assert windows == {
        Key("m", "1", 1000): Window(3, 1, defaultdict(int, {bucket(4): 1, bucket(100): 1})),
        Key("m", "1", 1005): Window(1, 0, defaultdict(int, {bucket(4): 1})),
        Key("m", "2", 1000): Window(1, 1, defaultdict(int)),
    }


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"status": 429, "upstream": "503"}, 1),
        ({"status": 499}, 0),
        ({"status": 504, "upstream": ""}, 1),
        ({"status": 504}, 1),
        ({"stood_in": "0"}, 1),
        ({"stood_in": ""}, 0),
        ({"status": 503, "upstream": "503"}, 1),
        ({"status": 503, "upstream": "500, 503"}, 1),
        ({"status": 503, "upstream": "503", "expired": "1"}, 1),
        ({"stood_in": "0", "upstream": "422 : 200"}, 1),
        ({"stood_in": "0", "upstream": "502, 507 : 400 : 200"}, 1),
        ({"stood_in": "0", "upstream": "592 : 200"}, 1),
        ({"stood_in": "0", "status": 422, "upstream": "590 : 422"}, 1),
        ({"stood_in": "0", "status": 422, "upstream": "422 : 590 : 422"}, 1),
        ({"picked": 1}, 0),
    ],
)
def test_an_error_is_what_the_version_is_to_blame_for(changes: dict[str, Any], errors: int) -> None:
    windows, _ = read_windows([line(**changes)])
    assert [(window.requests, window.errors) for window in windows.values()] == [(1, errors)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"refused": "2"}, None),
        ({"failed": "1"}, (True, False)),
        ({"failed": "1", "refused": "2"}, (True, False)),
        ({"refused": "", "failed": ""}, (False, False)),
        ({"stood_in": "0", "upstream": "422 : 200", "refused": "1"}, None),
        ({"stood_in": "0", "upstream": "592 : 200", "refused": "1"}, None),
        ({"stood_in": "0", "upstream": "590 : 200", "refused": "1"}, (True, False)),
        ({"stood_in": "0", "upstream": "590 : 200", "failed": "1"}, (True, True)),
    ],
)
def test_of_an_answer_in_part_what_failed_counts_and_what_was_refused_does_not(
    changes: dict[str, Any], told: tuple[bool, bool] | None
) -> None:
    requests, malformed = read_requests([line(**changes)])
    assert malformed == 0
    assert [(one.failed, one.shared) for one in requests] == ([] if told is None else [told])


@pytest.mark.parametrize(
    ("served", "slot"),
    [
        ("0.004", bucket(4)), ("0.003, 0.002", bucket(5)), ("0.001 : 0.004", bucket(5)), ("-, 0.004", bucket(4)),
        ("-", None), ("", None), (None, bucket(9000)),
    ],
)  # fmt: skip
def test_latency_is_what_the_server_took_and_not_the_upload(served: str | None, slot: int | None) -> None:
    given = {"seconds": 9.0} | ({} if served is None else {"served": served})  # older lines have no such field
    one = read(**given)
    assert one.slot == slot and one.answered
    [window] = windows_of([one]).values()
    assert window.latencies == ({} if slot is None else {slot: 1})


@pytest.mark.parametrize("status", [499, 504, 500, 429])
def test_where_there_was_no_answer_there_is_no_latency_but_how_long_there_was_none(status: int) -> None:
    one = read(status=status, served="2.0", upstream="503")
    assert one.slot == bucket(2000) and not one.answered
    [window] = windows_of([one]).values()
    assert window.requests == 1 and not window.latencies


@pytest.mark.parametrize(("status", "shared"), [(200, False), (422, True), (500, True), (504, True), (499, True)])
def test_a_failure_that_stable_does_not_share_is_the_canarys_own(status: int, shared: bool) -> None:
    one = read(version="2", status=status, stood_in="1", served="3.0 : 0.004")
    assert (one.version, one.failed, one.shared, one.slot) == ("2", True, shared, None)
    assert not read(stood_in="").failed


def test_whose_a_request_is_is_told_by_its_session() -> None:
    assert read(session="ann").session == "ann"
    assert read(session="").session == read().session == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"picked": "0"},
        {"picked": ""},
        {"version": ""},
        {"path": "/explanations/m"},
        {"path": "/predictions"},
        {"status": 503, "upstream": "502, 502, 502"},
        {"status": 503, "upstream": ""},
        {"status": 503, "upstream": "503", "expired": "crowded"},
        {"status": 500, "upstream": ""},
        *({"status": status, "upstream": ""} for status in (400, 405, 408, 413, 415, 429, 499)),
        *({"status": status} for status in (400, 404, 415, 418, 422)),
        {"status": 422, "upstream": "422 : 463"},
        *({"status": status, "upstream": "422 : 4", "stood_in": "0"} for status in (400, 415, 422, 499, 500)),
        {"status": 422, "upstream": "500 : 400 : 422", "stood_in": "0"},
        {"status": 422, "upstream": "592 : 592", "stood_in": "0"},
    ],
)
def test_what_tells_nothing_of_the_version_that_was_chosen_is_no_evidence(changes: dict[str, Any]) -> None:
    assert read_windows([line(**changes)]) == ({}, 0)


def test_lines_that_are_none_are_counted() -> None:
    old = {name: value for name, value in LINE.items() if name != "picked"}  # written before versions were picked
    assert read_windows([json.dumps(old).encode()]) == ({}, 0)
    assert read_windows([line(picked="0", path="/\ufffd").replace(b"\\ufffd", b"\xff")]) == ({}, 0)
    assert read_windows(
        [b"", b"{", b"[]", b"7", line(msec="now"), line(seconds=None), line(served=[1]), line()[:-3]]
    ) == ({}, 8)


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
    # more than one query's keys
    late = {Key("m", "1", 5 * at): Window(1, 0, defaultdict(int, {3: 1})) for at in range(1200)}
    for windows in (
        late,
        {Key("m", "1", 10): Window(2, 1, defaultdict(int, {3: 1, 9: 1}))},
        {Key("m", "2", 10): Window(1, 1, defaultdict(int, {0: 1}))},
    ):
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


@pytest.mark.parametrize(
    ("upstream", "retried"),
    [("507 : 200", 1), ("500 : 507 : 200", 1), ("500", 1), ("200", 0), ("502, 200", 0), ("590", 0), ("", 0)],
)
def test_a_request_that_a_worker_died_of_is_counted_as_retried(upstream: str, retried: int) -> None:
    said = {"msec": 1000.0, "model": "m", "version": "1", "picked": "1", "seconds": 2.0, "path": "/predictions/m"}
    status = 504 if not upstream else 200 if upstream.endswith("200") else 500
    requests, _ = read_requests([json.dumps(said | {"status": status, "upstream": upstream}).encode()])
    (window,) = windows_of(requests).values()
    assert (window.requests, window.retried) == (1, retried)
