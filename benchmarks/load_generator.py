"""A load: keep-alive connections that each have at most one request in flight, and what they saw.

Connections send as soon as they are answered, which finds the most a server can do; or at random times at a given rate,
as users come, where the latency of a request that found no free connection counts from when it was due, so that a
server which falls behind cannot hide it.

For tests and benchmarks. The client is one asyncio process that parses no more of an answer than its status and length,
so that it takes little of the cores it shares with the server.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

import numpy as np
import psutil
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import POSITIONS
from marina.events.spool import spool_files
from marina.serving.temporary_server import Server

CATCH_UP_S = 120.0


@dataclass(frozen=True)
class Result:
    """What one run measured; latencies in milliseconds."""

    name: str
    per_second: float
    p50: float
    p95: float
    p99: float
    errors: int

    @staticmethod
    def of(name: str, latencies_s: Sequence[float], seconds: float, rows: int = 1, errors: int = 0) -> "Result":
        """Sum up what was seen in some seconds, of that many rows a request."""
        p50, p95, p99 = np.percentile(np.asarray(latencies_s) * 1e3, [50, 95, 99])
        return Result(name, len(latencies_s) * rows / seconds, p50, p95, p99, errors)


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends when the next request is due and the last one is answered."""

    def __init__(
        self, requests: Iterator[bytes], latencies: list[float], deadline: float, due: Iterator[float] | None
    ) -> None:
        self.requests = requests
        self.latencies = latencies
        self.deadline = deadline
        self.due = due
        self.errors = 0
        self._finished = False
        self.done = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        now = time.perf_counter()
        at = now if self.due is None else next(self.due)
        if at >= self.deadline:
            self._finished = True
            self._transport.close()
        elif at > now:  # from when the timer went off: that it did so late is not the server's doing
            asyncio.get_running_loop().call_later(at - now, self._send)
        else:
            self._send(at)

    def _send(self, due: float | None = None) -> None:
        self._started = time.perf_counter() if due is None else due
        self._transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        """Note an answer that is whole, and send the next request."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        now = time.perf_counter()
        self.latencies.append(now - self._started)
        self.errors += not head.startswith(b"HTTP/1.1 200")
        self._last, self._buffer = self._buffer, b""
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        """Be done; a server that hangs up early has spoilt the measurement."""
        if self.done.done():
            return
        if not self._finished:
            self.done.set_exception(
                ConnectionError(f"the server closed the connection; its last answer: {self._last[:200]!r}")
            )
        else:
            self.done.set_result(None)


async def drive(
    url: str, requests: Sequence[bytes], connections: int, seconds: float, per_second: float | None = None
) -> tuple[list[float], int, float]:
    """Keep connections busy; return latencies in seconds, the number of errors, and the time it took.

    With `per_second` requests are due at that mean rate, independently of each other (a Poisson process), and go out on
    whichever connection is free.

    Raises
    ------
    OSError
        If there is no server, or it closes a connection before the time is over.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    latencies: list[float] = []
    start = time.perf_counter()
    loop = asyncio.get_running_loop()
    turns = itertools.cycle(requests)  # so that what is batched together differs
    due = None if per_second is None else _arrivals(start, per_second)
    made = [
        await loop.create_connection(lambda: Connection(turns, latencies, start + seconds, due), host, port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    return latencies, sum(protocol.errors for _, protocol in made), time.perf_counter() - start


def _arrivals(start: float, per_second: float) -> Iterator[float]:
    rng = np.random.default_rng(0)
    while True:
        start += rng.exponential(1 / per_second)
        yield start


def measure_serving(
    name: str,
    url: str,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    rows: int = 1,
    per_second: float | None = None,
) -> Result:
    """Measure a running server with requests of that many rows; arguments and `OSError` as for `drive`."""
    latencies, errors, took = asyncio.run(drive(url, requests, connections, seconds, per_second))
    return Result.of(name, latencies, took, rows, errors)


def cpu_seconds(server: Server, model: str) -> dict[str, float]:
    """Return the processor time each part of a server has taken so far, in seconds."""
    pids = server.pids
    parts = {
        "nginx": [child.pid for child in psutil.Process(pids["nginx"]).children()],
        "Java": [pids["java"]],
        "collector": [pids["collector"]],
        "workers": server.worker_pids(model),
    }
    return {name: sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in part) for name, part in parts.items()}


def _waiting_bytes(server: Server) -> int:
    """Return how much of a server's prediction log is not in its database yet."""
    database = Database(f"sqlite:///{server.state_dir / 'marina.db'}")
    with spool_files(server.state_dir / "spool") as files, database.reading() as connection:
        rows = connection.execute(sa.select(POSITIONS)).all()
        taken = {row.source.rpartition(" ")[2]: row.position for row in rows}
        waiting: int = sum(os.fstat(one.file.fileno()).st_size - taken.get(one.key, 0) for one in files)
    database.close()
    return waiting


def catch_up(server: Server) -> float:
    """Wait until a server's predictions are all in its database; return how long that took, in seconds."""
    start = time.monotonic()
    while _waiting_bytes(server) and time.monotonic() - start < CATCH_UP_S:
        time.sleep(0.2)
    return time.monotonic() - start


def request(
    path: str,
    body: bytes,
    content_type: str = "application/json",
    token: str | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """Return one HTTP request, ready to be sent."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nContent-Type: {content_type}\r\n"
    head += f"Authorization: Bearer {token}\r\n" if token else ""
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return head.encode() + b"\r\n" + body
