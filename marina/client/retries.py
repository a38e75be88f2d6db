"""When a call is sent again: what broke off before an answer, 429 and 503, for as long as the deadline leaves time.

Predictions are pure and feedback is idempotent, so either may be computed twice. One that merely takes long is not sent
again, but once where the server's own limit passed (504): a worker that died may have taken it along. Pauses are as
advised by ``Retry-After``, else they double from 50 ms, with jitter (Brooker, 2015).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import httpx

from marina.client.errors import (
    BusyError,
    DeadlineError,
    Error,
    InvalidError,
    RefusedError,
    ServerError,
    UnreachableError,
)

FIRST_S, MOST_S = 0.05, 2.0
CONNECT_S = 5.0
AGAIN = (429, 503)
OVERDUE = 504


class Attempts:
    """One call's attempts up to its deadline.

    Parameters
    ----------
    deadline_s
        How long the call may take in all.
    clock
        A clock that is never set, in seconds.
    """

    def __init__(self, deadline_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._limit_s = clock, deadline_s
        self._end = clock() + deadline_s
        self._failed = 0
        self._overdue = False

    @property
    def timeout(self) -> httpx.Timeout:
        """How long the next attempt may take; a connection that takes long to be made is tried again."""
        left_s = max(0.001, self._end - self._clock())
        return httpx.Timeout(left_s, connect=min(CONNECT_S, left_s))

    def after_answer(self, answer: httpx.Response) -> float:
        """Return how long to wait before the next attempt.

        Raises
        ------
        RefusedError
            When there is to be none.
        """
        error = read_error(answer)
        if answer.status_code == OVERDUE and not self._overdue:
            self._overdue = True
            return self._pause(error, self._backoff())
        if answer.status_code not in AGAIN:
            raise error
        if isinstance(error, BusyError) and error.retry_after_s:
            return self._pause(error, error.retry_after_s * random.uniform(1.0, 1.1))
        return self._pause(error, self._backoff())

    def after_fault(self, fault: httpx.TransportError) -> float:
        """Return how long to wait after a connection failed.

        Raises
        ------
        Error
            When there is to be no next attempt.
        """
        if isinstance(fault, httpx.UnsupportedProtocol | httpx.ProxyError):
            raise UnreachableError(f"The server cannot be reached: {fault}") from fault
        if isinstance(fault, httpx.TimeoutException) and not isinstance(fault, httpx.ConnectTimeout):
            raise DeadlineError(f"No answer within {self._limit_s:g} s.") from fault
        return self._pause(UnreachableError(f"The server cannot be reached: {fault or type(fault).__name__}"),
                           self._backoff())  # fmt: skip

    def _backoff(self) -> float:
        return random.uniform(0.5, 1.0) * min(MOST_S, FIRST_S * 2.0**self._failed)

    def _pause(self, error: Error, pause_s: float) -> float:
        self._failed += 1
        if self._clock() + pause_s >= self._end:
            raise error
        return pause_s


def read_error(answer: httpx.Response) -> RefusedError:
    """Return what a refusal says."""
    status = answer.status_code
    try:
        said = answer.json()["error"]
        code, message = str(said["code"]), str(said["message"])
    except (ValueError, KeyError, TypeError):
        said, code, message = {}, "unknown", f"{answer.text[:200]!r} is no answer of Marina's: is the URL right?"
    details = {name: value for name, value in said.items() if name not in ("code", "message", "request_id")}
    kind = BusyError if status in AGAIN else ServerError if status >= 500 else InvalidError
    error = kind(status, code, message, str(said.get("request_id", "")), details)
    if isinstance(error, BusyError):
        given = answer.headers.get("retry-after", "")
        error.retry_after_s = float(given) if given.isdecimal() else 0.0
    return error
