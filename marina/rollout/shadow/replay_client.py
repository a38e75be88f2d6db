"""Replaying: logged inputs, sent to one shadow version at a bounded rate."""

import http.client
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson

from marina.events.predictions import number

PER_SECOND = 25.0
"""90,000 requests an hour, and few enough that users feel little of it (docs/SHADOW.md)."""
AT_ONCE = 8
"""Sent together, so that TorchServe may answer them in one batch: a pass of eight costs half of eight passes."""
TIMEOUT_S = 10.0
NOT_NOW = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""What TorchServe says of a version that is unavailable or busy: nothing about the version's answers."""


@dataclass(frozen=True)
class Input:
    """One logged request body, and when its user was answered."""

    request_id: str
    time: float
    content_type: str
    body: bytes


@dataclass(frozen=True)
class ShadowAnswer:
    """What a version answered.

    Attributes
    ----------
    status
        HTTP status; 504 when no answer came within `TIMEOUT_S`.
    predictions
        As they came; None unless the status is 200.
    faults
        Statuses of instances without a prediction, by place, where others have one.
    serving_ms
        The handler's own time.
    """

    status: int
    predictions: Any = None
    faults: Mapping[int, int] = field(default_factory=dict)
    serving_ms: float | None = None


class Replay:
    """A few connections to one TorchServe, each with at most one request in flight.

    Parameters
    ----------
    socket_path
        TorchServe's.
    per_second, at_once
        How many requests to send at most.
    augmented
        Models that this deployment asks with test-time augmentation, as its gateway does.
    """

    def __init__(
        self,
        socket_path: Path,
        per_second: float = PER_SECOND,
        at_once: int = AT_ONCE,
        augmented: Collection[str] = (),
    ) -> None:
        self._augmented = augmented
        self._connections = [_Connection(socket_path) for _ in range(at_once)]
        self._interval_s = 1 / per_second
        self._next = 0.0

    def send(self, model: str, version: str, inputs: Sequence[Input]) -> list[ShadowAnswer | None]:
        """Send inputs to a version, a few at once; return its answers in order.

        Returns
        -------
        list of ShadowAnswer or None
            None for what got no answer because TorchServe or the version is unavailable: to be sent again later.
        """
        answers: list[ShadowAnswer | None] = []
        while len(answers) < len(inputs) and None not in answers:
            some = inputs[len(answers) : len(answers) + len(self._connections)]
            self._wait(len(some))
            answers += self._together(f"/predictions/{model}/{version}", some, model in self._augmented)
        return answers + [None] * (len(inputs) - len(answers))

    def close(self) -> None:
        """Let go of the connections."""
        for connection in self._connections:
            connection.close()

    def _together(self, path: str, inputs: Sequence[Input], augmented: bool) -> list[ShadowAnswer | None]:
        """Send inputs, one on each connection; return the answers when all are there, or late."""
        used = list(zip(self._connections, inputs, strict=False))
        asked = [connection.ask(path, one, augmented) for connection, one in used]
        end = time.monotonic() + TIMEOUT_S
        return [connection.answer(end) if sent else None for (connection, _), sent in zip(used, asked, strict=True)]

    def _wait(self, count: int) -> None:
        """Wait until that many may be sent."""
        at = max(time.monotonic(), self._next)
        self._next = at + count * self._interval_s
        time.sleep(max(0.0, at - time.monotonic()))


class _Connection(http.client.HTTPConnection):
    """A keep-alive connection to a unix socket."""

    def __init__(self, socket_path: Path) -> None:
        super().__init__("torchserve")
        self._socket_path = socket_path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._socket_path))

    def ask(self, path: str, one: Input, augmented: bool = False) -> bool:
        """Send an input; return whether it was taken."""
        headers = {
            "Content-Type": one.content_type,
            "X-Request-Id": one.request_id,
            "X-Shadow": "1",
            "X-Top-K": "1",
            "X-Partial": "true",  # an instance that is refused says nothing of the others
            **({"X-TTA": "true"} if augmented else {}),
        }
        try:
            if self.sock:
                self.sock.settimeout(TIMEOUT_S)
            self.request("POST", path, one.body, headers)
        except (OSError, http.client.HTTPException):
            self.close()
            return False
        return True

    def answer(self, end: float) -> ShadowAnswer | None:
        """Return what was answered until then; None where TorchServe or the version is unavailable."""
        try:
            self.sock.settimeout(max(0.001, end - time.monotonic()))
            answer = self.getresponse()
            body = answer.read()
        except TimeoutError:
            self.close()
            return ShadowAnswer(HTTPStatus.GATEWAY_TIMEOUT)
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        return None if answer.status in NOT_NOW else _read(answer.status, body)


def _read(status: int, body: bytes) -> ShadowAnswer:
    if status != HTTPStatus.OK:
        return ShadowAnswer(status)
    try:
        said = orjson.loads(body)
        predictions = said["predictions"]
        serving_ms = number(said.get("serving_ms"))
        faults = {int(one["index"]): int(one["status"]) for one in said.get("errors", ())}
    except (ValueError, KeyError, TypeError, AttributeError):  # not in the form that every handler of ours gives
        return ShadowAnswer(HTTPStatus.BAD_GATEWAY)
    return ShadowAnswer(status, predictions, faults, serving_ms)
