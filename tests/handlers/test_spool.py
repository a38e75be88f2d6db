import base64
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from archives.store import unpack
from handlers import spool as spool_module
from handlers.decoding import JSON, NPY
from handlers.signflow import SignFlowHandler
from handlers.spool import Answered, Sampling, Spool
from tests.bad_requests import npy
from tests.families.signflow import frames_of
from tests.handlers.context import Context
from tests.serving import ROOT

ANSWER = (
    b'{"model":"m","version":"1","request_id":"%b","predictions":[{"label":"yes","probability":0.9}],"serving_ms":1.5}'
)
BODY = b'{"text": "hello",\r\n  "iban": "DE00", "instances": [{"iban": 1, "amount": 2}]}'


PICKED: dict[str, Any] = {"x-picked": "1"}
SHADOW: dict[str, Any] = {"x-shadow": "1"}


def answered(request_id: str = "r-1", body: bytes = BODY, content_type: str = JSON, **headers: str) -> Answered:
    return Answered(request_id, {"content-type": content_type, **headers}, body, False, ANSWER % request_id.encode())


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return what all files of the folder hold, in the order in which they were begun."""
    paths = sorted(folder.glob("*.jsonl"), key=lambda path: int(path.stem.rpartition("-")[2]))
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def made(folder: Path, sampling: Sampling = Sampling(), limit_bytes: int = 1 << 28) -> Spool:  # noqa: B008 - frozen
    return Spool(folder, "m", "1", sampling, limit_bytes)


def settled(spool: Spool) -> None:
    """Wait until the next file is there."""
    if spool._making is not None:
        spool._making.join()


def test_a_line_holds_the_answer_as_it_was_sent(tmp_path: Path) -> None:
    made(tmp_path).keep([answered(**PICKED), answered("r-2")])
    first, second = lines(tmp_path)
    assert first["answer"] == json.loads(ANSWER % b"r-1")
    assert (first["picked"], first["many"], second["picked"]) == (True, False, False)
    assert abs(first["time"] - os.stat(next(tmp_path.glob("*.jsonl"))).st_mtime) < 60
    assert "input" not in first


def test_a_line_has_the_summary_of_each_instance_and_null_for_what_one_does_not_have(tmp_path: Path) -> None:
    rows = np.array([[1, 0.1], [np.nan, -np.inf]], np.float32)
    made(tmp_path).keep([answered()._replace(summary=rows), answered("r-2")])
    first, second = lines(tmp_path)
    assert first["summary"] == [[1.0, 0.1], [None, None]]
    assert "summary" not in second


def test_an_input_is_kept_as_it_came_and_on_one_line(tmp_path: Path) -> None:
    made(tmp_path, Sampling(input_share=1)).keep([answered(), answered("a", npy(frames_of(3)), NPY)])
    json_line, npy_line = lines(tmp_path)
    assert json_line["input"] == {"content_type": JSON, "body": json.loads(BODY)}
    assert npy_line["input"]["content_type"] == NPY
    assert base64.b64decode(npy_line["input"]["base64"]) == npy(frames_of(3))


def test_redacted_fields_are_in_no_input(tmp_path: Path) -> None:
    spool = made(tmp_path, Sampling(input_share=1, redact=frozenset({"iban", "text"})))
    spool.keep([answered(), answered("a", npy(frames_of(3)), NPY)])
    json_line, npy_line = lines(tmp_path)
    assert json_line["input"]["body"] == {"instances": [{"amount": 2}]}
    assert "input" not in npy_line


def test_larger_inputs_are_never_kept(tmp_path: Path) -> None:
    made(tmp_path, Sampling(input_share=1, input_limit_bytes=len(BODY) - 1)).keep([answered()])
    assert "input" not in lines(tmp_path)[0]


def test_the_shares_are_kept_and_all_workers_choose_alike(tmp_path: Path) -> None:
    sampling = Sampling(share=0.3, input_share=0.5)
    batch = [answered(f"request-{number:06d}") for number in range(20_000)]
    for worker in ("one", "two"):
        made(tmp_path / worker, sampling).keep(batch)
    one, two = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert [line["answer"]["request_id"] for line in one] == [line["answer"]["request_id"] for line in two]
    # Five standard deviations of a binomial: 324 of 6000, 194 of 3000.
    assert abs(len(one) - 6000) < 324
    assert abs(sum("input" in line for line in one) - len(one) / 2) < 194


def test_the_declared_share_of_inputs_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "LOOK_S", 0.0)
    spool = made(tmp_path)
    spool.keep([answered()])
    for shares in ({"m": 1.0, "other": 0.0}, {"other": 1.0}):
        fresh = tmp_path / "fresh"
        fresh.write_bytes(orjson.dumps(shares))
        fresh.replace(tmp_path / "input_share.json")
        spool.keep([answered()])
    (tmp_path / "input_share.json").write_text("[1, 2]")
    spool.keep([answered()])
    assert ["input" in line for line in lines(tmp_path)] == [False, True, False, False]


def test_of_a_declared_share_no_more_is_kept_than_can_be_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SHADOW_PER_S", 50.0)
    monkeypatch.setattr(spool_module, "SHADOW_AT_ONCE", 20.0)
    now = 1000.0
    monkeypatch.setattr("handlers.spool.time.monotonic", lambda: now)
    tmp_path.joinpath("input_share.json").write_text('{"m": 1.0}')
    spool = made(tmp_path, Sampling(input_share=0.25))
    for seconds in (0.0, 0.1, 60.0):
        now += seconds
        spool.keep([answered(f"request-{now}-{number}") for number in range(2000)])
    written = lines(tmp_path)
    # a quarter as the settings ask, and of the others what has gathered: 20, then 5, then no more than 20
    for first, more in zip(range(0, 6000, 2000), (20, 5, 20), strict=True):
        some = written[first : first + 2000]
        quarter = sum(spool_module._chance(line["answer"]["request_id"]) < 0.25 for line in some)
        assert sum("input" in line for line in some) == quarter + more


def test_shadow_requests_leave_nothing(tmp_path: Path) -> None:
    made(tmp_path).keep([answered(**SHADOW)])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_has_grown_is_left_and_another_begun(tmp_path: Path) -> None:
    spool = made(tmp_path, limit_bytes=40_000)  # files of 10,000 bytes
    for number in range(80):
        spool.keep([answered(f"{number:03d}")])
        settled(spool)
    assert [line["answer"]["request_id"] for line in lines(tmp_path)] == [f"{number:03d}" for number in range(80)]
    sizes = [path.stat().st_size for path in tmp_path.glob("*.jsonl")]
    assert len(sizes) == 2 and max(sizes) < 10_300


def test_while_the_next_file_is_being_made_answers_go_to_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, go_on = made(tmp_path, limit_bytes=40_000), threading.Event()
    spool.keep([answered("first")])
    flock = fcntl.flock
    monkeypatch.setattr("handlers.spool.fcntl.flock", lambda file, how: go_on.wait(30) and flock(file, how))
    for number in range(99):
        spool.keep([answered(f"{number:03d}")])
    assert max(path.stat().st_size for path in tmp_path.glob("*.jsonl")) > 17_000
    go_on.set()
    settled(spool)
    for _ in range(2):
        spool.keep([answered("last")])
    assert len(list(tmp_path.glob("*.jsonl"))) == 2 and len(lines(tmp_path)) == 102


def test_where_no_thread_can_be_made_answers_are_kept_and_files_turned_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    spool = made(tmp_path, limit_bytes=40_000)
    monkeypatch.setattr("threading.Thread.start", none_left)
    for number in range(200):
        spool.keep([answered(f"r-{number}")])
    assert [line["answer"]["request_id"] for line in lines(tmp_path)] == [f"r-{number}" for number in range(200)]
    assert len(list(tmp_path.glob("*.jsonl"))) > 2


def test_a_full_folder_drops_and_counts_until_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "LOOK_S", 0.0)
    spool = made(tmp_path, limit_bytes=20_000)
    for number in range(200):
        spool.keep([answered(f"{number:03d}")])
        settled(spool)
    kept = len(lines(tmp_path))
    assert 20_000 <= sum(path.stat().st_size for path in tmp_path.iterdir()) < 26_000
    for path in tmp_path.glob("*.jsonl"):
        path.unlink()
    spool.keep([answered("after")])
    notice, after = lines(tmp_path)
    assert notice["dropped"] == 200 - kept and notice["time"] == after["time"]
    assert after["answer"]["request_id"] == "after"


def test_while_full_the_folder_is_not_looked_at_for_every_batch(tmp_path: Path) -> None:
    spool = made(tmp_path, limit_bytes=4_000)
    (tmp_path / "other-1-1-1.jsonl").write_bytes(b"x" * 5_000)
    spool.keep([answered()])
    (tmp_path / "other-1-1-1.jsonl").unlink()
    spool.keep([answered()])
    assert lines(tmp_path) == []


def test_a_file_that_goes_while_the_folder_is_looked_at_costs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "gone-1-1-1.jsonl").symlink_to(tmp_path / "nothing")  # is listed, and there is nothing to look at
    made(tmp_path).keep([answered()])
    (tmp_path / "gone-1-1-1.jsonl").unlink()
    assert [line["answer"]["request_id"] for line in lines(tmp_path)] == ["r-1"]


def test_a_disk_that_fills_up_fails_no_request_and_loses_no_count(tmp_path: Path) -> None:
    # A limit on the size of files makes the kernel write part of the batch, as a full disk does.
    code = f"""
import resource, signal, sys
from pathlib import Path
from handlers import spool as spool_module

folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
spool_module.LOOK_S = 0.0
spool = spool_module.Spool(folder, "m", "1", spool_module.Sampling(), 1 << 28)
spool.keep([spool_module.Answered(str(number), {{}}, b"", False, {ANSWER!r} % b"x") for number in range(30)])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.keep([spool_module.Answered("after", {{}}, b"", False, {ANSWER!r} % b"after")])
"""
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, cwd=ROOT)
    files = sorted(tmp_path.glob("*.jsonl"), key=lambda path: int(path.stem.rpartition("-")[2]))
    *whole, half = files[0].read_bytes().split(b"\n")
    assert 0 < len(whole) < 30 and half
    notice, after = map(json.loads, files[1].read_bytes().splitlines())
    assert notice["dropped"] == 30 - len(whole)
    assert after["answer"]["request_id"] == "after"


def test_a_worker_killed_right_after_answering_leaves_its_lines(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from handlers.spool import Answered, Sampling, Spool
spool = Spool(Path(sys.argv[1]), "m", "1", Sampling(), 1 << 28)
spool.keep([Answered(str(number), {{}}, b"", False, {ANSWER!r} % str(number).encode()) for number in range(64)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code, tmp_path], check=False, cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert [line["answer"]["request_id"] for line in lines(tmp_path)] == [f"{number}" for number in range(64)]


@pytest.fixture(scope="module")
def folder(signflow_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    unpack(signflow_archive, folder)
    return folder


@pytest.fixture
def handler(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SignFlowHandler]:
    monkeypatch.setenv("MARINA_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("MARINA_LOG_INPUT_SHARE", "1.0")
    monkeypatch.setenv("MARINA_LOG_REDACT", '["session"]')
    handler = SignFlowHandler()
    handler.initialize(Context(folder))
    yield handler


def test_only_answers_are_logged_in_one_write(
    handler: SignFlowHandler, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    write = os.write

    def noted(fd: int, data: bytes) -> int:
        writes.append(fd)
        return write(fd, data)

    monkeypatch.setattr("handlers.spool.os.write", noted)
    one = orjson.dumps({"frames": frames_of(4).tolist(), "session": "s"})
    many = orjson.dumps({"instances": [{"frames": frames_of(4).tolist()}] * 3})
    bodies = [one, b"{}", many]
    headers = [{"Content-Type": JSON, "X-Request-Id": f"r-{at}", "X-Picked": "1"} for at in range(3)]
    context = Context(folder, headers)
    answers = handler.handle([{"body": bytearray(body)} for body in bodies], context)
    assert context.statuses == [200, 422, 200]
    first, second = lines(tmp_path / "spool")
    assert (first["answer"], second["answer"]) == (json.loads(answers[0]), json.loads(answers[2]))
    assert (first["many"], second["many"], first["picked"]) == (False, True, True)
    assert list(first["input"]["body"]) == ["frames"]
    assert len(writes) == 2  # the first is the (empty) count of what was dropped when the file was begun


def test_without_a_folder_there_is_no_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARINA_SPOOL", raising=False)
    handler = SignFlowHandler()
    handler.initialize(Context(folder))
    context = Context(folder, [{"Content-Type": NPY}])
    handler.handle([{"body": npy(frames_of(4))}], context)
    assert context.statuses == [200] and handler._spool is None
