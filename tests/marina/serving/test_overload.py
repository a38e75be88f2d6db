"""What a client meets when others ask for more than there is."""

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from benchmarks.load_generator import drive, request
from tests.serving import EMPTY, PREDICTS, Server, archive, running
from tests.survival import Traffic

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
TIRED = """
import time


class Tired:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        time.sleep(0.25)
        return [b"{}"] * len(data)
"""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a model of four a second, and an empty one."""
    folder = tmp_path_factory.mktemp("archives")
    archives = [archive(folder, "tired", code=TIRED, config={"batchSize": 1})]
    archives += [archive(folder, "empty", code=EMPTY, config={"batchSize": 64})]
    with running(archives, PREDICTS | {"request_timeout_s": 15, "body_timeout_s": 5}) as server:
        yield server


def test_what_cannot_be_answered_in_time_is_refused_quickly(busy: Server) -> None:
    def ask(_: int) -> httpx.Response:
        return httpx.post(f"{busy.url}/predictions/tired", json={}, timeout=60)

    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(ask, range(60)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert Counter(answer.status_code for answer in answers).keys() == {200, 429}
    assert len(refused) >= 10
    assert {answer.json()["error"]["code"] for answer in refused} == {"queue_full"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert max(answer.elapsed.total_seconds() for answer in refused) < 2
    assert max(answer.elapsed.total_seconds() for answer in answers) < 14


@pytest.mark.parametrize("connections", [64, 500])
def test_a_fast_model_refuses_nobody(busy: Server, connections: int) -> None:
    sent = [request("/predictions/empty", b"{}")]
    _, errors, _ = asyncio.run(drive(busy.url, sent, connections, 3.0))
    assert errors == 0


def test_one_client_with_bodies_that_trickle_in_leaves_room_for_others(busy: Server) -> None:
    host, _, port = busy.url.removeprefix("http://").partition(":")
    head = f"POST /predictions/tired HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n{{"
    slow = [socket.create_connection((host, int(port)), source_address=("127.0.0.2", 0)) for _ in range(30)]
    try:
        for connection in slow:
            connection.sendall(head.encode())
        time.sleep(0.5)
        for _ in range(3):
            assert httpx.post(f"{busy.url}/predictions/tired", json={}, timeout=60).status_code == 200
    finally:
        for connection in slow:
            connection.close()
        time.sleep(0.5)


@pytest.mark.timeout(300)
def test_a_hundred_of_the_largest_bodies_leave_java_alive_and_other_models_alone(busy: Server) -> None:
    java = busy.pids["java"]
    body = b'{"rows": "' + b"x" * (8 * 1024 * 1024 - 12) + b'"}'

    def send(_: int) -> httpx.Response:
        return httpx.post(f"{busy.url}/predictions/tired", content=body, headers=JSON, timeout=120)

    with Traffic(busy, "/predictions/empty", connections=2) as others, ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(send, range(100)))
    assert Counter(answer.status_code for answer in answers).keys() == {200, 429}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)
    assert others.statuses == {200: len(others.answers)}
    assert busy.pids["java"] == java


def test_slow_bodies_take_little_memory_of_the_gateway(busy: Server) -> None:
    def memory() -> int:
        return sum(child.memory_info().rss for child in psutil.Process(busy.pids["nginx"]).children())

    host, _, port = busy.url.removeprefix("http://").partition(":")
    before, size = memory(), 2 * 1024 * 1024
    head = f"POST /predictions/empty HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for number in range(300):
            made = socket.create_connection((host, int(port)), source_address=(f"127.0.0.{2 + number % 50}", 0))
            stack.enter_context(made)
            with contextlib.suppress(ConnectionError):  # those that are refused are closed
                made.sendall(head + b"x" * 500_000)
        assert memory() - before < 64 * 1024 * 1024
        assert httpx.post(f"{busy.url}/predictions/empty", content=b"{}", headers=JSON).status_code == 200
