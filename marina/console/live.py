"""Parts of pages that are sent again as they change: server-sent events, one stream for each open page."""

import asyncio
from collections.abc import AsyncIterator, Callable

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from marina.console.access import Visitor
from marina.console.context import Context
from marina.console.errors import RefusedError
from marina.database.connection import AWAY

EVERY_S = 2.0
KEEP_ALIVE = 10
"""After so many times without a change a comment is sent, so that no one takes the stream for dead."""

MOST = 60
"""Streams at once; a page without one is as it was when it was loaded."""

_open: set[object] = set()


def stream(context: Context, request: Request, visitor: Visitor, render: Callable[[], str]) -> Response:
    """Return a stream of one part of a page, as the event ``part``: now, and whenever it is another.

    It ends when the visitor may no longer see it.
    """
    if len(_open) >= MOST:
        raise RefusedError(503, "too_many_pages", "Too many pages are kept up to date. Load this one again.", 30)

    async def send() -> AsyncIterator[str]:
        me = object()
        _open.add(me)
        try:
            before, quiet = "", 0
            while not await request.is_disconnected():
                try:
                    if await run_in_threadpool(context.access.visitor, request) is None:
                        return
                    text = await run_in_threadpool(render)
                except AWAY:
                    text = before
                quiet = 0 if text != before else quiet + 1
                if text != before:
                    data = "\n".join(f"data: {line}" for line in text.splitlines())
                    yield f"event: part\n{data}\n\n"
                elif quiet % KEEP_ALIVE == 0:
                    yield ": still here\n\n"
                before = text
                await asyncio.sleep(EVERY_S)
        finally:
            _open.discard(me)

    return StreamingResponse(send(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})
