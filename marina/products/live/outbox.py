"""What waits to be sent to one page, bounded: a reader that is too slow is let go, and costs the others nothing.

Of a state, a guess or a receipt only the newest counts, so one that still waits is replaced. Answers and errors are
never dropped: when `MOST` messages wait, or one could not be sent within `SLOW_S`, the connection is closed. The page
may come back and resume; what it missed is sent again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

MOST: Final = 32
SLOW_S: Final = 5.0
NEWEST: Final = frozenset({"state", "guess", "received"})
"""Kinds of which only the newest counts."""


class ClosingError(Exception):
    """A connection is to be closed.

    Attributes
    ----------
    code
        WebSocket's close code (RFC 6455, section 7.4), or one of ours from 4400 on.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


POLICY: Final = 1008
"""The close code for what is not accepted."""


class Outbox:
    """Messages of one connection, in their order.

    Parameters
    ----------
    send
        Sends one text, and returns when the connection has taken it.
    slow_s
        How long that may take.
    """

    def __init__(self, send: Callable[[str], Awaitable[None]], slow_s: float = SLOW_S) -> None:
        self._send, self._slow_s = send, slow_s
        self._waiting: deque[dict[str, Any]] = deque()
        self._some = asyncio.Event()
        self._ending: ClosingError | None = None

    def put(self, message: dict[str, Any]) -> None:
        """Have a message sent; it has a ``type``."""
        if message["type"] in NEWEST:
            self._waiting = deque(one for one in self._waiting if one["type"] != message["type"])
        if len(self._waiting) >= MOST:
            self.end(ClosingError(POLICY, f"slow reader: {MOST} messages wait to be read"))
            return
        self._waiting.append(message)
        self._some.set()

    def end(self, closing: ClosingError) -> None:
        """Have the connection closed, whatever waits."""
        self._ending = self._ending or closing
        self._some.set()

    async def run(self) -> None:
        """Send what there is until cancelled.

        Raises
        ------
        ClosingError
            If the reader is too slow, or the connection is to end.
        """
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting and self._ending is None:
                text = orjson.dumps(self._waiting.popleft()).decode()
                try:
                    async with asyncio.timeout(self._slow_s):
                        await self._send(text)
                except TimeoutError:
                    reason = f"slow reader: a message could not be sent within {self._slow_s:g} s"
                    raise ClosingError(POLICY, reason) from None
            if self._ending is not None:
                raise self._ending
