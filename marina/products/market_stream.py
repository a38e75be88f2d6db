"""Server-sent events to anyone who listens (the WHATWG HTML standard, "Server-sent events").

A listener that does not keep up is let go: its browser connects again and gets what it missed by the last event's id.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import orjson

from marina.database.connection import AWAY
from marina.products.errors import ProductError

MOST_LISTENERS = 200
WAITING = 64
"""Events that may wait for a listener."""

KEEP_ALIVE_S = 15.0


class Event(NamedTuple):
    """One event: its id, and how it is written."""

    ident: str
    written: bytes


def event(name: str, time: float, ident: str, data: Mapping[str, Any]) -> Event:
    """Write one event; its id says when it was, and which of that time it is."""
    whole = f"{time}:{ident}"
    return Event(whole, f"event: {name}\nid: {whole}\ndata: ".encode() + orjson.dumps(data) + b"\n\n")


class Stream:
    """Everyone who listens in this process.

    Attributes
    ----------
    turn
        Held while events get their time and are published, so that their ids rise.
    """

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self._queues: set[asyncio.Queue[Event | None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._queues)

    def publish(self, one: Event) -> None:
        """Hand an event to every listener."""
        for queue in list(self._queues):
            if queue.qsize() >= WAITING:
                self._queues.discard(queue)
                queue.put_nowait(None)
                continue
            queue.put_nowait(one)

    def close(self) -> None:
        """Let every listener go, and take no more."""
        self._closed = True
        for queue in list(self._queues):
            queue.put_nowait(None)

    def listen(self, missed: AsyncIterator[Event] | None = None) -> AsyncIterator[bytes]:
        """Return the events that were missed, then those from now on.

        Parameters
        ----------
        missed
            Is asked once nothing more can be missed; what it gives and is published meanwhile is sent once.

        Raises
        ------
        ProductError
            With status 429, when there are too many listeners.
        """
        if self._full:
            raise ProductError(429, "too_many_listeners", "Too many listen already. Ask GET /api/ml/predict instead.")
        return self._events(missed)

    @property
    def _full(self) -> bool:
        return self._closed or len(self._queues) >= MOST_LISTENERS

    async def _events(self, missed: AsyncIterator[Event] | None) -> AsyncIterator[bytes]:
        if self._full:  # others came between
            return
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield b"retry: 2000\n\n"
            sent = set()
            if missed is not None:
                try:
                    async for one in missed:
                        sent.add(one.ident)
                        yield one.written
                except AWAY:
                    return  # the browser comes again with the last id it has
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        new = await queue.get()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if new is None:
                    return
                if new.ident not in sent:
                    yield new.written
        finally:
            self._queues.discard(queue)
