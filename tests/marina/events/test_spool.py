import base64
import fcntl
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from handlers import spool
from handlers.spool import Answered, Sampling, Spool
from marina.database.tables import INPUTS, PREDICTIONS
from marina.events.line_reader import read_lines
from marina.events.spool import FILE_BYTES, Row, read_entries, spool_files

LABELS = [{"label": "yes", "probability": 0.9}, {"label": "no", "probability": 0.1}]


def line(predictions: object, many: bool = False, **said: object) -> bytes:
    answer = {"model": "m", "version": "1", "request_id": "r", "predictions": predictions, "serving_ms": 2.5}
    return orjson.dumps({"time": 5.5, "picked": True, "many": many, "answer": answer} | said)


def named(table: sa.Table, rows: list[Row]) -> list[dict[str, Any]]:
    return [dict(zip(table.columns.keys(), row, strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("said", "label", "confidence", "value"),
    [
        (LABELS, "yes", 0.9, None),
        ({"label": "yes", "probability": 1, "value": 3}, "yes", 1.0, 3.0),
        ({"label": 7, "confidence": 0.25}, None, 0.25, None),
        ({"value": True, "probability": None}, None, None, None),
        ([], None, None, None),
        (["yes"], None, None, None),
        ("yes", None, None, None),
        ({"label": "a\0b" + "c" * 300}, "ab" + "c" * 254, None, None),
    ],
)
def test_what_an_instance_says_is_found(
    said: object, label: str | None, confidence: float | None, value: float | None
) -> None:
    [row] = named(PREDICTIONS, read_entries([line(said)]).predictions)
    assert (row["label"], row["confidence"], row["value"]) == (label, confidence, value)
    assert json.loads(row["answer"]) == said
    assert (row["request_id"], row["model"], row["version"], row["instance"]) == ("r", "m", "1", 0)
    assert (row["time"], row["picked"], row["serving_ms"]) == (5.5, True, 2.5)


def test_a_request_of_many_instances_gives_a_row_for_each() -> None:
    rows = named(PREDICTIONS, read_entries([line([LABELS, {"value": 1.5}], many=True)]).predictions)
    assert [(row["instance"], row["label"], row["value"]) for row in rows] == [(0, "yes", None), (1, None, 1.5)]


def test_of_an_answer_in_part_the_instances_that_were_answered_give_rows_in_their_places() -> None:
    rows = named(PREDICTIONS, read_entries([line([None, LABELS, None, {"value": 1.5}], many=True)]).predictions)
    assert [(row["instance"], row["label"], row["value"]) for row in rows] == [(1, "yes", None), (3, None, 1.5)]
    entries = read_entries([line([None, None], many=True)])
    assert (entries.predictions, entries.malformed) == ([], 0)


def test_summaries_are_kept_with_the_instances_that_they_are_of() -> None:
    [row] = named(PREDICTIONS, read_entries([line(LABELS, summary=[[1.5, None, 3]])]).predictions)
    assert json.loads(row["summary"]) == [1.5, None, 3]
    said = line([LABELS, None, LABELS], many=True, summary=[[1.0], [None], [None]])
    rows = named(PREDICTIONS, read_entries([said]).predictions)
    assert [(row["instance"], row["summary"]) for row in rows] == [(0, "[1.0]"), (2, None)]
    assert named(PREDICTIONS, read_entries([line(LABELS)]).predictions)[0]["summary"] is None


def test_warnings_are_counted_by_version() -> None:
    def warned(version: str, count: int) -> bytes:
        said = json.loads(line(LABELS))
        said["answer"] |= {"version": version, "warnings": [{"field": "features.x", "message": "far"}] * count}
        return orjson.dumps(said)

    entries = read_entries([warned("1", 2), warned("2", 1), warned("1", 1), line(LABELS)])
    assert entries.warnings == {("m", "1"): 3, ("m", "2"): 1}
    assert len(entries.predictions) == 4


def test_inputs_come_back_as_they_were_sent() -> None:
    sent = {"content_type": "application/json", "body": {"amount": 0.1, "text": "ä\u0000"}}
    array = {"content_type": "application/x-npy", "base64": base64.b64encode(b"\x93NUMPY\0\n").decode()}
    entries = read_entries([line(LABELS, input=sent), line(LABELS, input=array)])
    first, second = named(INPUTS, entries.inputs)
    assert (first["request_id"], first["model"], first["version"], first["time"]) == ("r", "m", "1", 5.5)
    assert json.loads(first["body"]) == sent["body"]
    assert (second["body"], second["content_type"]) == (b"\x93NUMPY\0\n", "application/x-npy")


def test_files_are_expected_to_be_as_large_as_workers_make_them() -> None:
    assert FILE_BYTES == spool.FILE_BYTES


def test_drops_and_lines_that_are_none_are_counted() -> None:
    wrong = [
        b"", b"{", b"[]", b"7", b"null", b'{"time":1}', line(LABELS)[:-5], line(3, many=True),
        line(LABELS).replace(b'"r"', b'"%b"' % (b"r" * 129)), line(LABELS).replace(b'"r"', b'""'),
        line(LABELS, input={"content_type": "x", "base64": "?"}), b"\xff\xfe", line(LABELS, time="nan"),
        line(LABELS, summary=7), line(LABELS, summary=[1]), line(LABELS, summary=[[1], [2]]),
        line(LABELS, summary=[["an IBAN"]]), line(LABELS, summary=[[True]]),
    ]  # fmt: skip
    entries = read_entries([b'{"dropped":3,"time":1.0}', *wrong, line(LABELS), b'{"dropped":4,"time":1.0}'])
    assert (entries.dropped, entries.malformed, len(entries.predictions)) == (7, len(wrong), 1)


def test_lines_are_read_whole_and_the_last_one_only_when_its_writer_is_gone() -> None:
    file = io.BytesIO(b"one\n\nthree\nfo")
    assert read_lines(file, 0).lines == [b"one", b"", b"three"]
    assert (read_lines(file, 0, 6).lines, read_lines(file, 0, 6).position) == ([b"one", b""], 5)
    assert (read_lines(file, 11).lines, read_lines(file, 11).position) == ([], 11)
    assert (read_lines(file, 11, last=True).lines, read_lines(file, 11, last=True).position) == ([b"fo"], 13)
    assert read_lines(file, 0, 6, last=True).lines == [b"one", b""]
    assert read_lines(io.BytesIO(b"x" * 100 + b"\ny\n"), 0, 10).lines == [b"x" * 100, b"y"]
    assert read_lines(io.BytesIO(), 0, last=True).lines == []
    assert [read_lines(file, 0, at_most).full for at_most in (6, 13, 14)] == [True, True, False]


def test_a_file_is_finished_when_no_worker_holds_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "a-model", "1.0", Sampling(), 1 << 20)
    spool.keep([Answered("r", {}, b"", False, b"{}")])
    (tmp_path / "other-2-77-1.jsonl").write_bytes(b"{}\n")  # begun long before
    with spool_files(tmp_path) as files:
        first, second = files
        assert (first.key, first.finished) == ("77-1", True)
        assert not second.finished and second.key.startswith(f"{os.getpid()}-")
    spool._end()
    with spool_files(tmp_path) as files:
        assert [file.finished for file in files] == [True, True]


def test_a_file_that_is_being_begun_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m-1-77-1.jsonl"
    path.touch()
    with spool_files(tmp_path) as files, path.open("ab") as worker:
        assert files == []
        fcntl.flock(worker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.utime(path, (time.time() - 3600,) * 2)
    with spool_files(tmp_path) as files:
        assert [file.finished for file in files] == [True]
