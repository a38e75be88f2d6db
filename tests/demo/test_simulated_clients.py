import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from demo.simulated_clients import Clients, Question

QUESTIONS = [Question(b'{"instances": [{"n": 1}, {"n": 2}]}', ("one", "two"))]


class Server(ThreadingHTTPServer):
    """A small server that speaks as the gateway does, and notes what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[float, str, str]] = []
        self.numbers = itertools.count()
        self.told: list[tuple[float, dict[str, Any]]] = []
        self.predict: Callable[[int], int] = lambda number: 200
        self.feedback: Callable[[int], int] = lambda number: 200
        self.batches = 0


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/feedback":
            self.server.batches += 1
            status = self.server.feedback(self.server.batches)
            if status == 200:
                self.server.told += [(time.time(), label) for label in body["labels"]]
            answer: dict[str, Any] = {"counts": {"recorded": len(body["labels"])}}
        else:
            assert self.path == "/predictions/toy"
            request_id = f"id-{next(self.server.numbers)}"
            self.server.asked.append((time.time(), request_id, self.headers["X-Session-Id"]))
            status = self.server.predict(len(self.server.asked))
            answer = {"error": {"code": "handler_fault"}} if status != 200 else {"predictions": []}
        if status == 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        sent = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(sent)))
        self.send_header("X-Model-Version", "2.0")
        if self.path != "/feedback":
            self.send_header("X-Request-Id", request_id)
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def run(server: Server, seconds: float, **options: Any) -> Clients:
    clients = Clients(f"http://127.0.0.1:{server.server_port}", "toy", QUESTIONS, **options)
    clients.start()
    time.sleep(seconds)
    clients.stop()
    return clients


def test_requests_come_at_the_rate_from_as_many_sessions_as_asked(server: Server) -> None:
    clients = run(server, 2.0, per_s=100, sessions=5)
    assert 130 <= len(server.asked) <= 270  # five standard deviations of a Poisson count around 200
    assert {session for _, _, session in server.asked} == {f"session-{number}" for number in range(5)}
    assert len(clients.seen) == len(server.asked)
    assert {(one.version, one.status, one.why) for one in clients.seen} == {("2.0", 200, "")}
    assert clients.failures() == []


def test_every_answered_instance_gets_its_label_once_and_late(server: Server) -> None:
    clients = run(server, 1.5, per_s=50, label_delay_s=(0.5, 1.0))
    wanted = Counter({(request, instance): 1 for _, request, _ in server.asked for instance in (0, 1)})
    assert Counter((label["request_id"], label["instance"]) for _, label in server.told) == wanted
    assert all(label["label"] == ("one", "two")[label["instance"]] for _, label in server.told)
    assert clients.labels == {"recorded": len(server.told)}
    asked_at = {request: at for at, request, _ in server.asked}
    running = [at - asked_at[label["request_id"]] for at, label in server.told][: len(server.told) // 3]
    assert min(running) >= 0.49


def test_every_failure_is_written_down_and_gets_no_label(server: Server) -> None:
    server.predict = lambda number: {3: 500, 5: 0}.get(number, 200)
    began = time.time()
    clients = run(server, 1.0, per_s=40)
    refused, silent = sorted(clients.failures(began), key=lambda one: -one.status)
    assert (refused.status, refused.version) == (500, "2.0")
    assert "handler_fault" in refused.why
    assert (silent.status, silent.version) == (0, "")
    assert silent.why
    assert len(clients.seen) == len(server.asked), "nothing is tried again"
    assert len(server.told) == 2 * (len(server.asked) - 2)
    assert clients.failures(time.time()) == []


def test_labels_that_are_not_taken_are_told_again(server: Server) -> None:
    server.feedback = lambda number: 503 if number <= 2 else 200
    clients = run(server, 1.5, per_s=40, label_delay_s=(0.0, 0.1))
    assert len(clients.label_faults) == 2
    assert len(server.told) == 2 * len(server.asked)


def test_clients_of_a_server_that_is_not_there_fail_and_end(server: Server) -> None:
    server.server_close()
    clients = run(server, 0.3, per_s=40)
    assert clients.seen
    assert all(one.status == 0 and "Connect" in one.why for one in clients.seen)
