"""What is sent again, for how long, and what is raised in the end."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from marina.client import (
    ArgumentError,
    AsyncClient,
    BusyError,
    Client,
    DeadlineError,
    InvalidError,
    ServerError,
    UnreachableError,
)
from marina.client.events import Reader
from tests.marina.client import products
from tests.serving import ROOT, free_ports

GOOD = b'{"model": "code_risk", "version": "1.0", "request_id": "r", "predictions": {"value": 0.5, "label": "risky"}}'
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"


def answer(status: int, body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n".encode() + body


def refusal(status: int, code: str, more: str = "") -> bytes:
    body = f'{{"error": {{"code": "{code}", "message": "what to do", "request_id": "r-1", "field": "f"}}}}'
    return answer(status, body.encode(), more)


class Scripted:
    """A server of sockets that gives each connection its answer, and keeps what came."""

    def __init__(self, answers: Sequence[bytes | None]) -> None:
        self.asked: list[bytes] = []
        self._answers = list(answers)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for said in self._answers:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.asked.append(self._read(connection))
                if said is None:
                    time.sleep(3)
                else:
                    connection.sendall(said)

    def _read(self, connection: socket.socket) -> bytes:
        came = b""
        while b"\r\n\r\n" not in came:
            came += connection.recv(65536)
        head, _, body = came.partition(b"\r\n\r\n")
        size = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0)
        while len(body) < size:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # a thread that accepts wakes up by it
        self._socket.close()
        self._thread.join(5)


@contextmanager
def scripted(*answers: bytes | None) -> Iterator[Scripted]:
    server = Scripted(answers)
    try:
        yield server
    finally:
        server.close()


def ask(kind: str, url: str, **options: Any) -> Any:
    if kind == "sync":
        with Client(url, **options) as client:
            return client.predict("RiskPredictor", {"changes": 3})

    async def asking() -> Any:
        async with AsyncClient(url, **options) as client:
            return await client.predict("RiskPredictor", {"changes": 3})

    return asyncio.run(asking())


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


@KINDS
def test_what_broke_off_and_what_was_busy_is_sent_again_under_the_same_id(kind: str) -> None:
    script = (b"", CUT, refusal(503, "not_ready"), refusal(429, "queue_full", "Retry-After: 1\r\n"), answer(200, GOOD))
    with scripted(*script) as server:
        begin = time.monotonic()
        found = ask(kind, server.url, user="u-1", token="secret")
        assert time.monotonic() - begin >= 1.0
    assert (found.label, found.value, found.version, found.request_id) == ("risky", 0.5, "1.0", "r")
    assert len(server.asked) == 5 and len(set(server.asked)) == 1
    for words in (b"POST /predictions/code_risk", b"X-User-Id: u-1", b"Bearer secret", b'{"features":{"changes":3}}'):
        assert words.lower() in server.asked[0].lower()


@KINDS
@pytest.mark.parametrize(
    ("said", "kind_of_error", "status"),
    [
        (refusal(422, "invalid"), InvalidError, 422),
        (refusal(401, "unauthorized"), InvalidError, 401),
        (refusal(500, "internal"), ServerError, 500),
        (answer(404, b"<html>"), InvalidError, 404),
    ],
)
def test_what_would_come_to_the_same_is_raised_at_once(
    kind: str, said: bytes, kind_of_error: type[InvalidError], status: int
) -> None:
    with scripted(said, answer(200, GOOD)) as server, pytest.raises(kind_of_error) as raised:
        ask(kind, server.url)
    assert raised.value.status == status and len(server.asked) == 1
    if status != 404:
        assert (raised.value.request_id, raised.value.details) == ("r-1", {"field": "f"})
        assert "what to do" in str(raised.value)
    else:
        assert raised.value.code == "unknown"


@KINDS
def test_what_the_server_gave_up_on_is_sent_once_more(kind: str) -> None:
    overdue = refusal(504, "deadline")
    with scripted(overdue, answer(200, GOOD)) as server:
        assert ask(kind, server.url).label == "risky"
    with scripted(overdue, overdue, answer(200, GOOD)) as server, pytest.raises(ServerError, match="504 deadline"):
        ask(kind, server.url)
    assert len(server.asked) == 2


@KINDS
def test_the_deadline_holds_over_all_attempts(kind: str) -> None:
    begin = time.monotonic()
    with scripted(refusal(503, "not_ready", "Retry-After: 60\r\n")) as server, pytest.raises(BusyError) as busy:
        ask(kind, server.url, deadline_s=1)
    assert busy.value.retry_after_s == 60
    with pytest.raises(UnreachableError, match="cannot be reached"):
        ask(kind, f"http://127.0.0.1:{free_ports(1)[0]}", deadline_s=0.3)
    with scripted(None, answer(200, GOOD)) as server, pytest.raises(DeadlineError, match=r"within 0\.3 s"):
        ask(kind, server.url, deadline_s=0.3)
    assert len(server.asked) == 1  # it would be computed twice
    assert time.monotonic() - begin < 15


def test_calls_that_cannot_be_are_said_before_anything_is_sent() -> None:
    with Client("http://127.0.0.1:9") as client:
        for wrong in (
            lambda: client.predict("RiskPredictor"),
            lambda: client.predict("catalog", repo_id="marina"),
            lambda: client.predict("RiskPredictor", {"a": 1}, repo_id="marina"),
            lambda: client.predict("RiskPredictor", [1.0]),  # type: ignore[arg-type]
            lambda: client.feature_store.get_features("marina", "git"),
            lambda: client.predict("catalog", {"designation": object()}),
        ):
            with pytest.raises(ArgumentError, match="expected"):
                wrong()
        with pytest.raises(ArgumentError, match=r"instances\[1\]\.features\.changes: expected a finite number"):
            client.predict_many("RiskPredictor", [{"changes": 1.0}, {"changes": float("nan")}])
    with pytest.raises(ArgumentError, match="MARINA_URL"):
        Client("models.example.org")


def test_features_of_a_repository_are_read_with_their_states() -> None:
    store = products.Store()
    with products.running(store) as url, Client(url) as client:
        found = client.feature_store.get_features(repo_id="marina", feature_groups=["git", "code"])
        assert found.values == {"changes": 31.0, "velocity": None, "lines_of_code": 5200.0}
        assert found.states == {"changes": "fresh", "velocity": "missing", "lines_of_code": "stale"}
        assert client.feature_store.get_features("marina").groups == tuple(products.GROUPS)
        store.away = 1
        assert client.feature_store.get_features("marina", ["git"]).event_time == 1_795_816_800.0
        with pytest.raises(InvalidError, match="Nothing is known of 'nothing'"):
            client.feature_store.get_features("nothing")
        with pytest.raises(InvalidError, match="expected some of git, code, temporal, got 'guts'"):
            client.feature_store.get_features("marina", ["guts"])


def test_a_repository_s_prediction_is_known_by_the_id_under_which_it_is_logged() -> None:
    with products.running(products.Store()) as url, Client(url) as client:
        answer = client.predict("code_risk", repo_id="marina")
    assert (answer.model, answer.label, answer.version) == ("RiskPredictor", "sound", "1.0")
    assert answer.request_id == "an-earlier-one"


def test_a_stream_is_taken_up_again_where_it_broke() -> None:
    with products.running(products.Store()) as url:
        with Client(url) as client:
            events = client.market.stream()
            seen = [next(events) for _ in range(5)]
            [prediction] = client.market.predict(horizon="24h")
        assert [(event.name, event.id) for event in seen] == [("alert", str(number)) for number in range(1, 6)]
        assert (prediction.horizon, prediction.assets_affected, prediction.severity_estimate) == ("24h", ("BTC",), "S2")

        async def listen() -> list[str]:
            async with AsyncClient(url) as client:
                found = []
                async for event in client.market.stream(last_id="7"):
                    found.append(event.id)
                    if len(found) == 3:
                        break
                return found

        assert asyncio.run(listen()) == ["8", "9", "10"]


def test_a_stream_that_is_refused_is_raised() -> None:
    with (
        scripted(refusal(403, "predictions_off")) as server,
        Client(server.url) as client,
        pytest.raises(InvalidError, match="predictions_off"),
    ):
        next(iter(client.market.stream()))


def test_events_are_read_as_the_standard_says() -> None:
    reader = Reader()
    lines = [
        "retry: 50",
        ": a comment",
        "data: one",
        "data: two",
        "id: 4",
        "",
        "",
        "event: named",
        "data:3",
        "",
        "id: 9",
    ]
    events = [event for event in map(reader.feed, [*lines, "id: 9"]) if event]
    assert [(event.name, event.id, event.data) for event in events] == [("message", "4", "one\ntwo"), ("named", "4", 3)]
    assert (reader.pause_s, reader.last_id) == (0.05, "4")  # the ninth did not come whole


def test_it_imports_nothing_of_marina_but_itself() -> None:
    program = "import sys, marina.client; print(sorted(m for m in sys.modules if m.split('.')[0] in "
    program += "('marina', 'archives', 'models', 'numpy', 'sqlalchemy', 'pydantic')))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "marina.settings" not in done.stdout and "numpy" not in done.stdout and "archives" not in done.stdout
    assert httpx.__name__ not in done.stdout
