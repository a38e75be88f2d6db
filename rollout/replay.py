"""Replaying: logged inputs, sent to one silent version at a bounded rate."""

import http.client
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson

from events.predictions import number

PER_SECOND = 25.0
"""90,000 requests an hour, and few enough that users feel little of it (docs/SHADOW.md)."""
AT_ONCE = 8
"""Sent together, so that TorchServe may answer them in one batch: a pass of eight costs half of eight passes."""
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
    """A few connections to one TorchServe, each with at most one request in flight."""

    def __init__(self, place: Path, per_second: float = PER_SECOND, at_once: int = AT_ONCE) -> None:
        self._connections = [_Connection(place) for _ in range(at_once)]
        self._interval_s = 1 / per_second
        self._next = 0.0

    def send(self, model: str, version: str, inputs: Sequence[Input]) -> list[Replayed | None]:
        """Send inputs to a version, a few at once; return its answers in order.

        Returns
        -------
        list of Replayed or None
            None for what got no answer because TorchServe or the version is away: to be sent again later.
        """
        answers: list[Replayed | None] = []
        while len(answers) < len(inputs) and None not in answers:
            some = inputs[len(answers) : len(answers) + len(self._connections)]
            self._wait(len(some))
            answers += self._together(f"/predictions/{model}/{version}", some)
        return answers + [None] * (len(inputs) - len(answers))

    def close(self) -> None:
        """Let go of the connections."""
        for connection in self._connections:
            connection.close()

    def _together(self, path: str, inputs: Sequence[Input]) -> list[Replayed | None]:
        """Send inputs, one on each connection; return the answers when all are there, or late."""
        used = list(zip(self._connections, inputs, strict=False))
        asked = [connection.ask(path, one) for connection, one in used]
        end = time.monotonic() + TIMEOUT_S
        return [connection.answer(end) if sent else None for (connection, _), sent in zip(used, asked, strict=True)]

    def _wait(self, count: int) -> None:
        """Wait until so many may be sent."""
        at = max(time.monotonic(), self._next)
        self._next = at + count * self._interval_s
        time.sleep(max(0.0, at - time.monotonic()))


class _Connection(http.client.HTTPConnection):
    """A keep-alive connection to a unix socket."""

    def __init__(self, place: Path) -> None:
        super().__init__("torchserve")
        self._place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._place))

    def ask(self, path: str, one: Input) -> bool:
        """Send an input; return whether it was taken."""
        headers = {
            "Content-Type": one.content_type,
            "X-Request-Id": one.request_id,
            "X-Shadow": "1",
            "X-Top-K": "1",
        }
        try:
            if self.sock:
                self.sock.settimeout(TIMEOUT_S)
            self.request("POST", path, one.body, headers)
        except (OSError, http.client.HTTPException):
            self.close()
            return False
        return True

    def answer(self, end: float) -> Replayed | None:
        """Return what was answered until then; None where TorchServe or the version is away."""
        try:
            self.sock.settimeout(max(0.001, end - time.monotonic()))
            answer = self.getresponse()
            body = answer.read()
        except TimeoutError:
            self.close()
            return Replayed(HTTPStatus.GATEWAY_TIMEOUT)
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        return None if answer.status in NOT_NOW else _read(answer.status, body)


def _read(status: int, body: bytes) -> Replayed:
    if status != HTTPStatus.OK:
        return Replayed(status)
    try:
        said = orjson.loads(body)
        predictions = said["predictions"]
        serving_ms = number(said.get("serving_ms"))
    except (ValueError, KeyError, TypeError, AttributeError):  # not in the form that every handler of ours gives
        return Replayed(HTTPStatus.BAD_GATEWAY)
    return Replayed(status, predictions, serving_ms)
