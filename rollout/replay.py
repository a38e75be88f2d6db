"""Replaying: logged inputs, sent to one silent version at a bounded rate."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from events.predictions import number

PER_SECOND = 200.0
AT_ONCE = 4
TIMEOUT_S = 10.0
NOT_NOW = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""What TorchServe says of a version that is away or busy: nothing about the version's answers."""


@dataclass(frozen=True)
class Input:
    """One logged request body, and when its user was answered."""

    request_id: str
    time: float
    content_type: str
    body: bytes


@dataclass(frozen=True)
class Replayed:
    """What a version answered.

    Attributes
    ----------
    status
        HTTP status; 504 when no answer came within `TIMEOUT_S`.
    predictions
        As they came; None unless the status is 200.
    serving_ms
        The handler's own time.
    """

    status: int
    predictions: Any = None
    serving_ms: float | None = None


class Replay:
    """A few connections to one TorchServe."""

    def __init__(self, socket: Path, per_second: float = PER_SECOND, at_once: int = AT_ONCE) -> None:
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://torchserve", timeout=TIMEOUT_S
        )
        self._pool = ThreadPoolExecutor(at_once, "replay")
        self._interval_s = 1 / per_second
        self._next = 0.0
        self._turn = threading.Lock()

    def send(self, model: str, version: str, inputs: Sequence[Input]) -> list[Replayed | None]:
        """Send inputs to a version, one a turn; return its answers in order.

        Returns
        -------
        list of Replayed or None
            None for what got no answer because TorchServe or the version is away: to be sent again later.
        """
        away = threading.Event()

        def ask(one: Input) -> Replayed | None:
            self._wait()
            if away.is_set():
                return None
            try:
                answer = self._http.post(
                    f"/predictions/{model}/{version}",
                    content=one.body,
                    headers={
                        "Content-Type": one.content_type,
                        "X-Request-Id": one.request_id,
                        "X-Shadow": "1",
                        "X-Top-K": "1",
                    },
                )
            except httpx.TimeoutException:
                return Replayed(HTTPStatus.GATEWAY_TIMEOUT)
            except httpx.TransportError:
                away.set()
                return None
            if answer.status_code in NOT_NOW:
                away.set()
                return None
            return _read(answer)

        return list(self._pool.map(ask, inputs))

    def close(self) -> None:
        """Let go of threads and connections."""
        self._pool.shutdown(cancel_futures=True)
        self._http.close()

    def _wait(self) -> None:
        with self._turn:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._interval_s
        time.sleep(at - now)


def _read(answer: httpx.Response) -> Replayed:
    if answer.status_code != HTTPStatus.OK:
        return Replayed(answer.status_code)
    try:
        body = answer.json()
        predictions = body["predictions"]
    except (ValueError, KeyError, TypeError):  # answered, but not in the form that every handler of ours gives
        return Replayed(HTTPStatus.BAD_GATEWAY)
    return Replayed(answer.status_code, predictions, number(body.get("serving_ms")))
