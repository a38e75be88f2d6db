"""The market's alerts on the stream: this server's at once, those of others that share the database soon after."""

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from operator import itemgetter
from typing import Any

from starlette.concurrency import run_in_threadpool

from marina.database.connection import Database
from marina.products.market_rows import alerts_since
from marina.products.market_stream import Event, Stream, event

LOOK_S = 3.0
"""Time between looks for what others sent."""

OVERLAP_S = 60.0
"""How far a look reaches back before the last one: clocks differ, and rows are seen later than the time they bear."""

PAGE = 100
"""Alerts that are read at once."""


class Feed:
    """What of the alerts was published here.

    Parameters
    ----------
    database
        Where every server keeps the alerts that it sends.
    stream
        To whom they go. Its `turn` is held while anything is published.
    """

    def __init__(self, database: Database, stream: Stream) -> None:
        self._database, self._stream = database, stream
        self._since = time.time()
        self._published: set[str] = set()

    async def after(self, last: tuple[float, str]) -> AsyncIterator[Event]:
        """Give every alert after a time and id, the oldest first."""
        while True:
            found = await run_in_threadpool(alerts_since, self._database, last, PAGE)
            for one in found:
                yield event("alert", one["time"], one["id"], one)
            if len(found) < PAGE:
                return
            last = found[-1]["time"], found[-1]["id"]

    def publish(self, alerts: Iterable[Mapping[str, Any]]) -> None:
        """Publish alerts that were sent from here."""
        for one in sorted(alerts, key=itemgetter("id")):
            self._hand_on(event("alert", one["time"], one["id"], one))

    async def look(self) -> None:
        """Publish the alerts that others have sent since this process began, each once."""
        begun = time.time()
        async with self._stream.turn:
            found = [one async for one in self.after((self._since, ""))]
            for one in found:
                self._hand_on(one)
            self._published = {one.ident for one in found}
            self._since = max(self._since, begun - OVERLAP_S)

    def _hand_on(self, one: Event) -> None:
        if one.ident not in self._published:
            self._published.add(one.ident)
            self._stream.publish(one)
