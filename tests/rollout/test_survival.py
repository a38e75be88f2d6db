"""What a client sees while parts of the server die."""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving import Server, archive, running

SIEGE_S = float(os.environ.get("MARINA_TEST_SIEGE_S", "16"))  # 60 for the whole claim
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve one model with two workers."""
    one = archive(tmp_path_factory.mktemp("archives"), config={"minWorkers": 2, "maxWorkers": 2})
    with running([one], {"request_timeout_s": 60}) as server:
        yield server


def keep_asking(
    server: Server, stop: threading.Event, connections: int
) -> tuple[ThreadPoolExecutor, list[httpx.Response]]:
    """Send requests over so many connections until told to stop; the answers gather in the list."""
    answers: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=120) as client:
            while not stop.is_set():
                answers.append(client.post("/predictions/echo", json={"sleep_s": 0.01}))

    pool = ThreadPoolExecutor(connections)
    pool.futures = [pool.submit(ask) for _ in range(connections)]  # type: ignore[attr-defined]
    return pool, answers


def finish(pool: ThreadPoolExecutor, stop: threading.Event) -> None:
    stop.set()
    for future in pool.futures:  # type: ignore[attr-defined]
        future.result(timeout=120)  # raises what a client met, and when one hangs
    pool.shutdown()


@pytest.mark.timeout(300)
def test_no_request_is_lost_while_workers_are_killed(pair: Server) -> None:
    stop = threading.Event()
    pool, answers = keep_asking(pair, stop, 16)
    kills, end = 0, time.monotonic() + SIEGE_S
    while time.monotonic() < end:
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(pair.worker_pids("echo")[kills % 2], signal.SIGKILL)
            kills += 1
        time.sleep(2)
    finish(pool, stop)
    assert kills >= 3
    assert Counter(answer.status_code for answer in answers) == {200: len(answers)}
    assert max(answer.elapsed.total_seconds() for answer in answers) < 60


@pytest.mark.timeout(300)
def test_when_java_dies_clients_see_503_with_retry_after_until_all_is_restored(pair: Server) -> None:
    stop = threading.Event()
    pool, answers = keep_asking(pair, stop, 8)
    time.sleep(0.5)
    old = pair.pids["java"]
    os.kill(old, signal.SIGKILL)
    pair.wait(ready=False, timeout_s=30)
    pair.wait(ready=True)
    assert pair.pids["java"] != old
    time.sleep(1)  # until what was refused a moment ago has been counted
    before = len(answers)
    time.sleep(1)
    finish(pool, stop)
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers if answer.status_code == 503)
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 503} <= {
        "restarting",
        "not_ready",
    }
    assert {answer.status_code for answer in answers[before:]} == {200}


@pytest.mark.parametrize("signum", ["SIGKILL", "SIGSEGV"])
@pytest.mark.parametrize("size", [100, 3_000_000])
def test_a_request_whose_worker_dies_is_asked_again_with_its_whole_body(
    pair: Server, tmp_path: Path, signum: str, size: int
) -> None:
    wish = f'{{"kill": "{tmp_path}/once", "signal": "{signum}"}}'.encode()
    answer = httpx.post(f"{pair.url}/predictions/echo", content=wish.ljust(size), timeout=120)
    # The handler reads a wish from the first 4096 bytes; spaces behind it are JSON.
    assert (answer.status_code, answer.json()["bytes"]) == (200, max(size, len(wish)))
    assert (tmp_path / "once").exists()


def test_a_request_whose_worker_hangs_is_answered_by_another(tmp_path: Path) -> None:
    config = {"minWorkers": 2, "maxWorkers": 2, "batchSize": 1}
    with running([archive(tmp_path, config=config)], {"request_timeout_s": 15}) as server:
        answer = httpx.post(f"{server.url}/predictions/echo", json={"hang": f"{tmp_path}/once"}, timeout=120)
        assert answer.status_code == 200
        assert answer.elapsed.total_seconds() < 60


def test_a_request_that_kills_every_worker_ends_with_a_named_error(pair: Server) -> None:
    answer = httpx.post(f"{pair.url}/predictions/echo", json={"kill": "always"}, timeout=120)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "worker_died")
    pair.wait()
    assert httpx.post(f"{pair.url}/predictions/echo", json={}, timeout=120).status_code == 200


def test_a_gateway_that_dies_comes_back(pair: Server) -> None:
    master = psutil.Process(pair.pids["nginx"])
    workers = master.children()
    master.kill()
    psutil.wait_procs([master, *workers], timeout=30)
    pair.wait()
    assert httpx.post(f"{pair.url}/predictions/echo", json={}).status_code == 200
    assert pair.pids["nginx"] != master.pid


def test_a_version_that_is_deleted_by_hand_is_restored(pair: Server) -> None:
    answer = httpx.delete(f"{pair.management_url}/models/echo/1.0", headers=pair.authorization)
    assert answer.status_code == 200
    end = time.monotonic() + 120
    while (answer := httpx.post(f"{pair.url}/predictions/echo", json={}, timeout=120)).status_code != 200:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert time.monotonic() < end
        time.sleep(0.2)
