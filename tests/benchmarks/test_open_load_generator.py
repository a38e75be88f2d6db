"""Requests come when they are due, and nobody who is late hides it."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from benchmarks.load_generator import request
from benchmarks.open_load_generator import Seen, arrivals, drive

SENT = [request("/", b"one"), request("/", b"two")]
Answer = Callable[[bytes], bytes]


@contextlib.contextmanager
def server(answer: Answer) -> Iterator[str]:
    """Serve each connection from a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(one: socket.socket) -> None:
            with one, contextlib.suppress(ConnectionError):
                while got := one.recv(65536):
                    one.sendall(answer(got))

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def said(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d OK\r\nX-Other: 1\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


def run(answer: Answer, connections: int = 8) -> Seen:
    with server(answer) as url:
        return drive(url, SENT, arrivals(200, 1.0), connections)


def test_every_request_is_sent_and_answered_in_turn() -> None:
    came: list[bytes] = []
    seen = run(lambda got: came.append(got) or said(b"{}"))  # type: ignore[func-returns-value]
    assert (len(seen.latencies), seen.lost, seen.errors) == (200, 0, 0)
    assert sorted(came) == sorted(SENT * 100)
    assert 0.8 < seen.seconds < 20


def test_a_server_that_stands_still_is_seen_by_whoever_was_due_meanwhile() -> None:
    still, count = threading.Lock(), iter(range(1000))

    def answer(_: bytes) -> bytes:
        with still:  # as one process would
            if next(count) == 60:
                time.sleep(0.5)
        return said(b"{}")

    seen = run(answer, connections=4)
    assert seen.lost == 0
    # whoever was due in that half second waited for its end, though there were no more than four connections
    assert np.mean(seen.latencies > 0.2) > 0.2
    assert seen.lags.max() > 0.2


def test_errors_and_what_is_never_answered_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.open_load_generator.AFTER_S", 0.2)
    count = iter(range(1000))
    seen = run(lambda _: (b"", said(b"x", 503), said(b"{}"))[min(2, next(count))])
    assert (seen.lost, seen.errors) == (1, 1)
    assert seen.quantiles_ms([1.0]) == [np.inf] and seen.quantiles_ms([0.5])[0] < 1000


def test_an_answer_that_comes_in_parts_is_one() -> None:
    seen = run(lambda _: said(b"{}" + b" " * 500_000))
    assert (seen.lost, seen.errors) == (0, 0)


def test_arrivals_are_independent_of_each_other_at_the_rate_asked_for() -> None:
    due = arrivals(1000, 20)
    gaps = np.diff(due)
    assert abs(due[-1] - 20) < 1 and abs(gaps.std() / gaps.mean() - 1) < 0.05
    assert (arrivals(1000, 20, seed=1) != due).all()


def test_a_server_that_hangs_up_has_spoilt_the_measurement() -> None:
    with server(lambda _: said(b"{}")) as url, pytest.raises(OSError, match=r"refused|closed the connection"):
        drive(url.replace(url.rpartition(":")[2], "1"), SENT, arrivals(10, 0.1), 1)


def test_an_idle_connection_that_the_server_closes_is_missed_by_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            idle, busy = (listening.accept()[0] for _ in range(2))  # the last one opened is used first
            idle.close()
            with busy, contextlib.suppress(ConnectionError):
                while busy.recv(65536):
                    busy.sendall(said(b"{}"))

        threading.Thread(target=serve, daemon=True).start()
        seen = drive(f"http://127.0.0.1:{listening.getsockname()[1]}", SENT, np.arange(20) * np.float64(0.02), 2)
    assert (seen.lost, seen.errors) == (0, 0)
