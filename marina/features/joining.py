"""Reads that come together share a round trip: one is on its way, the others wait for its return and go together.

No timer: the pace is that of the connection itself. A read that comes alone is sent at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

Found = list[bytes | None]
Fetch = Callable[[Sequence[str]], Awaitable[Found]]

MOST = 500
"""Entities in a round trip, but for a single read that asks for more."""


class Joiner:
    """Joins the reads of one event loop.

    Parameters
    ----------
    fetch
        Reads many entities at a time.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._waiting: list[tuple[Sequence[str], asyncio.Future[Found]]] = []
        self._running: asyncio.Task[None] | None = None

    def get(self, entities: Sequence[str]) -> "asyncio.Future[Found]":
        """Read entities with the next round trip; its error is every reader's."""
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((entities, answer))
        if self._running is None:
            self._running = asyncio.ensure_future(self._run())
        return answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                taken = self._take()
                asked = [entity for entities, _ in taken for entity in entities]
                try:
                    found = await self._fetch(asked)
                except BaseException as error:
                    for _, answer in taken:
                        if not answer.done():
                            if isinstance(error, Exception):
                                answer.set_exception(error)
                            else:
                                answer.cancel()
                    if not isinstance(error, Exception):
                        raise
                    continue
                start = 0
                for entities, answer in taken:
                    if not answer.done():
                        answer.set_result(found[start : start + len(entities)])
                    start += len(entities)
        finally:
            self._running = None
            for _, answer in self._waiting:  # only when it was cancelled
                answer.cancel()
            self._waiting.clear()

    def _take(self) -> list[tuple[Sequence[str], "asyncio.Future[Found]"]]:
        count, many = 0, 0
        for entities, _ in self._waiting:
            if count and many + len(entities) > MOST:
                break
            count, many = count + 1, many + len(entities)
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    async def close(self) -> None:
        """End it; who waits is cancelled."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
