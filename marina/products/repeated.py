"""Middleware: a question that comes again in the same bytes is answered before it is read, while the memory holds it.

For routes whose answer depends on nothing but path, query, body and the archive that answers. The gateway has checked
the token before anything comes here. As of every answer that is kept, the key holds the archive's SHA-256, read from
the gateway's own links at this very request (marina/products/live_versions.py).

What is kept is the second answer, the first that the memory gave: questions that never come again take no room twice.
It goes when the answer goes that it was made of, and is kept in the same memory, whose bound it shares.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from marina.products.context import Context, call_of
from marina.products.errors import request_id_of
from marina.products.model_server import Call

LARGEST_BODY: Final = 65_536
"""A longer question costs more to read than to answer."""

CALL: Final = "marina.repeatable"
"""Where a route leaves the call, in the request's scope, when the same question gets the same answer."""

BEFORE_ID: Final = b'"served":{"request_id":"'
"""What stands before the request's id in an answer: no text within it can hold this, for its quotes are escaped."""


@dataclass(frozen=True)
class Repeatable:
    """A path whose answers may be repeated.

    Attributes
    ----------
    path
        Of its route, as requests are counted by.
    model
        Who answers there.
    """

    path: str
    model: str


def allow_repeating(request: Request, call: Call) -> None:
    """Say that a request which is answered so may be answered alike next time."""
    request.scope[CALL] = call


class Repeated:
    """The middleware.

    Parameters
    ----------
    paths
        What may be repeated, by path.
    """

    def __init__(self, app: ASGIApp, context: Context, paths: Mapping[str, Repeatable]) -> None:
        self._app = app
        self._context = context
        self._paths = paths
        self._cache = context.server.cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        route = self._paths.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        live = self._context.server.live.known(route.model) if route is not None else None
        if route is None or live is None or not _is_short(request := Request(scope, receive)):  # or no HTTP at all
            await self._app(scope, receive, send)
            return
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        asked = (live.digest.encode(), scope["path"].encode(), scope["query_string"], _type(request), body)
        key = hashlib.sha256(b"\0".join(asked)).hexdigest()
        if (kept := self._cache.memory.get(key)) is not None:
            call = call_of(request)
            if call.flag(self._context.flags, "ml_api_cache"):
                self._cache.counts["memory", "hit"] += 1
                scope["route"] = route
                before, _, after = kept.partition(b"\n")
                await _send(send, b"%b%b%b" % (before, call.request_id.encode(), after))
                return
        sent: list[bytes] = []
        given = False

        async def receive_again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def watch(message: Message) -> None:
            sent.append(message.get("body", b""))
            await send(message)

        await self._app(scope, receive_again, watch)
        answered: Call | None = scope.get(CALL)
        if answered is not None and answered.found is not None and answered.found[0] == live:
            place = (said := b"".join(sent)).rindex(BEFORE_ID) + len(BEFORE_ID)
            template = said[:place] + b"\n" + said[place + len(request_id_of(request)) :]
            self._cache.memory.put(key, template, self._cache.memory.left_s(answered.found[1]))


def _is_short(request: Request) -> bool:
    length = request.headers.get("content-length", "")
    return len(length) <= len(str(LARGEST_BODY)) and length.isdecimal() and int(length) <= LARGEST_BODY


def _type(request: Request) -> bytes:
    return request.headers.get("content-type", "").encode()


async def _send(send: Send, content: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(content)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
