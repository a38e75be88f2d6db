import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from marina.serving.hung_workers import Hung, Look, look
from tests.serving import PREDICTS, Server, archive, running
from tests.survival import Traffic

WORKER = """
import socket, sys, time
java, worker = socket.socketpair()
def handle(what):
    if what == "nap":
        time.sleep(3600)
    while what == "compute":
        pass
if sys.argv[1] == "wait":
    worker.recv(1)
handle(sys.argv[1])
"""

IDLE = Look("S", True, 10, 100)
NAPPING = Look("S", False, 11, 100)


def judged(looks: list[Look], every_s: float = 1.0) -> list[str]:
    """Judge a worker that looks so, with 5 s and 15 s as limits."""
    hung = Hung(quiet_s=5, busy_s=15)
    return [hung.judge(1, one, number * every_s) for number, one in enumerate(looks)]


def test_a_worker_that_waits_for_requests_is_not_hung_however_long() -> None:
    assert not any(judged([IDLE] * 1000))


def test_a_worker_that_sleeps_on_its_batch_is_hung_after_the_quiet_limit() -> None:
    words = judged([IDLE] + [NAPPING] * 7)
    assert words[:6] == [""] * 6
    assert words[6] == "it has done nothing for 5 s on a batch that it has"


def test_a_worker_that_answers_batch_after_batch_is_not_hung_though_each_look_finds_it_asleep() -> None:
    assert not any(judged([Look("S", False, 10 + number, 100) for number in range(100)]))


def test_a_worker_that_computes_is_given_the_whole_time_limit() -> None:
    words = judged([Look("R", False, 11, 100 + 100 * second) for second in range(17)])
    assert words[:15] == [""] * 15
    assert words[15] == "it has been at one batch for 15 s"


@pytest.mark.parametrize("state", ["D", "R"])
def test_a_worker_that_waits_for_the_disk_or_a_processor_is_given_the_whole_time_limit(state: str) -> None:
    assert [number for number, why in enumerate(judged([Look(state, False, 11, 100)] * 16)) if why] == [15]


def test_a_worker_that_is_stopped_at_two_looks_is_hung() -> None:
    stopped = Look("T", None, 10, 100)
    assert judged([IDLE, stopped, stopped]) == ["", "", "it is stopped"]
    assert not any(judged([IDLE, stopped, IDLE, stopped, IDLE]))


def test_a_worker_whose_waiting_cannot_be_seen_is_only_hung_if_it_is_stopped() -> None:
    assert not any(judged([Look("S", None, 10, 100)] * 100))


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("what", "state", "waits"), [("wait", "S", True), ("nap", "S", False), ("compute", "R", False)]
)
def test_the_kernel_says_what_a_worker_does(
    started: list[subprocess.Popen[bytes]], what: str, state: str, waits: bool
) -> None:
    started.append(subprocess.Popen([sys.executable, "-c", WORKER, what]))
    pid = started[0].pid
    end = time.monotonic() + 20
    seen = look(pid, os.getpid())
    while (seen is None or (seen.state, seen.waits) != (state, waits)) and time.monotonic() < end:
        time.sleep(0.1)
        seen = look(pid, os.getpid())
    assert seen is not None
    assert (seen.state, seen.waits) == (state, waits)
    assert look(pid, os.getpid() + 1) is None  # somebody else's child, under a number that was used again
    os.kill(pid, signal.SIGSTOP)
    while (seen := look(pid, os.getpid())) is not None and seen.state != "T" and time.monotonic() < end:
        time.sleep(0.1)
    assert seen is not None
    assert seen.state == "T"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a model of one worker and one of two."""
    folder = tmp_path_factory.mktemp("archives")
    two = {"minWorkers": 2, "maxWorkers": 2, "batchSize": 1}
    with running(
        [archive(folder, "only"), archive(folder, "pair", config=two)], PREDICTS | {"request_timeout_s": 15}
    ) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("model", ["only", "pair"])
def test_no_request_fails_when_a_worker_is_stopped(both: Server, model: str) -> None:
    with Traffic(both, f"/predictions/{model}", {"sleep_s": 0.01}, connections=6) as traffic:
        time.sleep(0.5)
        victim = both.worker_pids(model)[0]
        os.kill(victim, signal.SIGSTOP)
        time.sleep(10)
    assert traffic.statuses == {200: len(traffic.answers)}
    assert max(answer.elapsed.total_seconds() for answer in traffic.answers) < 15.5
    assert victim not in both.worker_pids(model)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["only", "pair"])
def test_a_request_whose_worker_hangs_is_asked_again(both: Server, tmp_path: Path, model: str) -> None:
    with Traffic(both, f"/predictions/{model}", {"hang": f"{tmp_path}/once"}, connections=1, most=1) as traffic:
        pass
    assert traffic.statuses == {200: 1}
    assert f"{model} 1.0: worker" in both.output.read_text()
