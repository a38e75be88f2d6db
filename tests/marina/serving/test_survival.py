"""What a client sees while parts of the server die."""

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving import PREDICTS, Server, archive, running
from tests.survival import Traffic

SIEGE_S = float(os.environ.get("MARINA_TEST_SIEGE_S", "16"))  # 60 for the whole claim
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve one model with two workers."""
    one = archive(tmp_path_factory.mktemp("archives"), config={"minWorkers": 2, "maxWorkers": 2})
    with running([one], {"request_timeout_s": 60}) as server:
        yield server


def besiege(server: Server, workers: int) -> None:
    """Kill one worker after the other, every two seconds, under sixteen connections: nobody may lose an answer."""
    kills, end = 0, time.monotonic() + SIEGE_S
    with Traffic(server, wish={"sleep_s": 0.01}, connections=16) as traffic:
        while time.monotonic() < end:
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(server.worker_pids("echo")[kills % workers], signal.SIGKILL)
                kills += 1
            time.sleep(2)
    assert kills >= 3
    assert traffic.statuses == {200: len(traffic.answers)}


@pytest.mark.timeout(300)
def test_no_request_is_lost_while_workers_are_killed(pair: Server) -> None:
    besiege(pair, 2)


@pytest.mark.timeout(300)
def test_no_request_is_lost_while_the_only_worker_is_killed(tmp_path: Path) -> None:
    with running([archive(tmp_path)], PREDICTS) as server:
        besiege(server, 1)


@pytest.mark.timeout(300)
def test_when_java_dies_clients_see_503_with_retry_after_until_all_is_restored(pair: Server) -> None:
    with Traffic(pair, wish={"sleep_s": 0.01}) as traffic:
        time.sleep(0.5)
        old = pair.pids["java"]
        os.kill(old, signal.SIGKILL)
        pair.wait(ready=False, timeout_s=30)
        pair.wait(ready=True)
        assert pair.pids["java"] != old
        time.sleep(1)  # until what was refused a moment ago has been counted
        before = len(traffic.answers)
        time.sleep(1)
    answers = traffic.answers
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


def test_what_merely_waits_is_computed_once(tmp_path: Path) -> None:
    wish = {"sleep_s": 1.0, "record": f"{tmp_path}/computed"}
    with running([archive(tmp_path, config={"batchSize": 1})], PREDICTS | {"request_timeout_s": 12}) as server:
        with Traffic(server, wish=wish, connections=8, most=1) as traffic:
            pass
        assert traffic.statuses == {200: 8}
    assert len((tmp_path / "computed").read_text().splitlines()) == 8


def test_who_is_not_answered_in_time_is_told_the_true_time(tmp_path: Path) -> None:
    with running([archive(tmp_path, config={"batchSize": 1})], PREDICTS | {"request_timeout_s": 3}) as server:
        # In naps, as if it waited for something: it is not taken for hung.
        answer = httpx.post(f"{server.url}/predictions/echo", json={"naps": 60, "sleep_s": 0.1}, timeout=60)
        said = re.search(r"after ([0-9.]+) s; the limit is 3 s", answer.json()["error"]["message"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline")
        assert said is not None
        assert 3 <= float(said[1]) <= answer.elapsed.total_seconds() < 4


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
    run_dir = json.loads((pair.state_dir / "running.json").read_text())["run_dir"]
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{run_dir}/management.sock")) as torchserve:
        assert torchserve.delete("http://marina/models/echo/1.0").status_code == 200
    end = time.monotonic() + 120
    while (answer := httpx.post(f"{pair.url}/predictions/echo", json={}, timeout=120)).status_code != 200:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert time.monotonic() < end
        time.sleep(0.2)
