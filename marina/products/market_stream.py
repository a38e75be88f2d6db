"""Server-sent events to anyone who listens (the WHATWG HTML standard, "Server-sent events").

A listener that does not keep up is let go: its browser connects again and gets what it missed by the last event's id.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from marina.products.errors import ProductError

MOST_LISTENERS = 200
WAITING = 64
"""Events that may wait for a listener."""

KEEP_ALIVE_S = 15.0


def event(name: str, ident: str, data: Mapping[str, Any]) -> bytes:
    """Write one event."""
    return f"event: {name}\nid: {ident}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"


class Stream:
    """Everyone who listens in this process."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._queues)

    def publish(self, written: bytes) -> None:
        """Hand an event to every listener."""
        for queue in list(self._queues):
            if queue.qsize() >= WAITING:
                self._queues.discard(queue)
                queue.put_nowait(None)
                continue
            queue.put_nowait(written)

    def close(self) -> None:
        """Let every listener go."""
        self._closed = True
        for queue in list(self._queues):
            queue.put_nowait(None)

    def listen(self, first: list[bytes]) -> AsyncIterator[bytes]:
        """Return the events from now on, after those that are given.

        Raises
        ------
        ProductError
            With status 429, when there are too many listeners.
        """
        if self._closed or len(self._queues) >= MOST_LISTENERS:
            raise ProductError(429, "too_many_listeners", "Too many listen already. Ask GET /api/ml/predict instead.")
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._queues.add(queue)
        return self._events(queue, first)

    async def _events(self, queue: asyncio.Queue[bytes | None], first: list[bytes]) -> AsyncIterator[bytes]:
        try:
            yield b"retry: 2000\n\n"
            for one in first:
                yield one
            while True:
                written: bytes | None = b": still here\n\n"
                with contextlib.suppress(TimeoutError):
                    written = await asyncio.wait_for(queue.get(), KEEP_ALIVE_S)
                if written is None:
                    return
                yield written
        finally:
            self._queues.discard(queue)
