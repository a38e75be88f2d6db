"""An open load: requests that are due at times fixed beforehand, however long the answers take.

A latency counts from when its request was due, so neither a server that falls behind nor a client that does can hide
it; how late the client itself was is measured beside. A process of it sleeps no longer than `NAP_S` at a time and reads
no more of an answer than its status and length: about 30 µs a request.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import re
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

NAP_S = 0.0002
AFTER_S = 20.0
"""So long answers are waited for when the last request has been sent."""

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
NICE = -10
"""The clients are elsewhere, and wait for no core of the server; where that is allowed."""

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What one run saw; times in seconds.

    Attributes
    ----------
    latencies
        From when a request was due until its answer was there, in that order; NaN where none came.
    lags
        From when a request was due until it was sent: the client's own, or for want of a free connection.
    errors
        Answers other than 200.
    seconds
        How long it took.
    """

    latencies: Times
    lags: Times
    errors: int
    seconds: float

    @property
    def lost(self) -> int:
        """How many requests were not answered."""
        return int(np.isnan(self.latencies).sum())

    def quantiles_ms(self, quantiles: Sequence[float]) -> list[float]:
        """Return quantiles of the latencies in milliseconds; what was not answered took infinitely long."""
        found = np.quantile(np.nan_to_num(self.latencies, nan=np.inf), quantiles, method="higher")
        return [float(one) for one in found * 1e3]


def arrivals(per_second: float, seconds: float, seed: int = 0) -> Times:
    """Return when requests are due that come at a mean rate, independently of each other (a Poisson process)."""
    count = int(per_second * seconds)
    return np.cumsum(np.random.default_rng(seed).exponential(1 / per_second, count))


def load(
    url: str, requests: Sequence[bytes], per_second: float, seconds: float, connections: int = 256, processes: int = 1
) -> Seen:
    """Load a server from one or several processes.

    Parameters
    ----------
    url
        Of the gateway.
    requests
        Whole HTTP requests, which are sent in turn.
    connections
        Of all processes; a request that finds all of them busy waits, and its latency with it.

    Raises
    ------
    OSError
        If there is no server, or it closes a connection.
    """
    parts = [
        (url, requests, per_second / processes, seconds, connections // processes, seed) for seed in range(processes)
    ]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        seen = pool.starmap(_part, parts)
    return Seen(
        np.concatenate([one.latencies for one in seen]),
        np.concatenate([one.lags for one in seen]),
        sum(one.errors for one in seen),
        max(one.seconds for one in seen),
    )


def _part(url: str, requests: Sequence[bytes], per_second: float, seconds: float, connections: int, seed: int) -> Seen:
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    return drive(url, requests, arrivals(per_second, seconds, seed), connections)


def drive(url: str, requests: Sequence[bytes], due: Times, connections: int) -> Seen:
    """Send requests when they are due; arguments and `OSError` as for `load`."""
    gc.collect()
    gc.disable()
    with contextlib.ExitStack() as opened:
        opened.callback(gc.enable)
        return _Client(_connected(url, connections, opened), itertools.cycle(requests), due).run()


def _connected(url: str, connections: int, opened: contextlib.ExitStack) -> dict[int, socket.socket]:
    place, found = urlsplit(url), {}
    for _ in range(connections):
        one = opened.enter_context(socket.create_connection((place.hostname or "127.0.0.1", place.port or 80), 10))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.setblocking(False)
        found[one.fileno()] = one
    return found


class _Client:
    def __init__(self, sockets: dict[int, socket.socket], requests: Iterator[bytes], due: Times) -> None:
        self._sockets = sockets
        self._requests = requests
        self._latencies, self._lags = np.full(len(due), np.nan), np.full(len(due), np.nan)
        self._free = list(sockets)  # the last one used is used again first
        self._asked: dict[int, int] = {}  # the number of a connection's request
        self._came: dict[int, bytes] = {}
        self._errors = 0
        self._start = time.perf_counter() + 0.01
        self._due: list[float] = (due + self._start).tolist()

    def run(self) -> Seen:
        clock, sent, count = time.perf_counter, 0, len(self._due)
        with select.epoll() as ready:
            self._ready = ready
            for one in self._sockets:
                ready.register(one, select.EPOLLIN)
            end = self._due[-1] + AFTER_S
            while (sent < count or self._asked) and (now := clock()) < end:
                while sent < count and self._due[sent] <= now and self._free:
                    self._send(sent, now)
                    sent += 1
                    now = clock()
                answered = ready.poll(0)
                for one, _ in answered:
                    self._receive(one)
                if not answered:
                    wait_s = self._due[sent] - clock() if sent < count and self._free else NAP_S
                    if wait_s > 0:
                        time.sleep(min(wait_s, NAP_S))
        return Seen(self._latencies, self._lags, self._errors, clock() - self._start)

    def _send(self, number: int, now: float) -> None:
        one = self._free.pop()
        request = next(self._requests)
        self._asked[one] = number
        self._lags[number] = now - self._due[number]
        rest = len(request) - self._sockets[one].send(request)
        while rest:  # larger than the kernel's buffer
            select.select([], [one], [], 1.0)
            rest -= self._sockets[one].send(request[-rest:])

    def _receive(self, one: int) -> None:
        data = self._sockets[one].recv(262_144)
        if not data and one not in self._asked:  # servers close connections that were idle for long
            self._free.remove(one)
            self._ready.unregister(one)
            return
        if not data:
            raise ConnectionError("the server closed the connection")
        if one in self._came:
            data = self._came.pop(one) + data
        head = data.find(b"\r\n\r\n")
        length = LENGTH.search(data, 0, head + 2) if head >= 0 else None
        if length is None or len(data) < head + 4 + int(length[1]):
            self._came[one] = data
            return
        number = self._asked.pop(one)
        self._latencies[number] = time.perf_counter() - self._due[number]
        self._errors += not data.startswith(b"HTTP/1.1 200")
        self._free.append(one)
