"""Answers that are kept under a client's key, so that a request that is sent again does nothing again."""

import asyncio
import hashlib
import re
import time

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from marina.database.connection import AWAY, Database
from marina.database.product_tables import ANSWERS
from marina.products.errors import ProductError, request_id_of

KEPT_S = 86_400.0
"""How long an answer is kept under its key."""

UNDER_WAY_S = 60.0
"""A request that has not been answered after this was cut off: its key is free again."""

KEY = re.compile(r"[\x21-\x7e]{1,128}")

LARGEST_ANSWER = 1024 * 1024
"""A longer answer is not kept; its key is free again."""


class Idempotency:
    """Middleware: a POST or PUT with an ``Idempotency-Key`` is done once, and answered alike when it comes again.

    Answers of success and refusals (4xx but 429) are kept; after others the key is free. The same key with another
    request is a conflict (409), and so is one whose first request is still under way.
    """

    def __init__(self, app: ASGIApp, database: Database, largest_body: int) -> None:
        self._app = app
        self._database = database
        self._largest = largest_body
        self._swept_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT"):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        key = request.headers.get("idempotency-key")
        if key is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await self._once(request, key)
        except ProductError as error:
            response = _json(error.status, error.body(request_id_of(request)))
        except AWAY:
            away = ProductError(503, "database_away", "The database is unavailable. Send the same again in 2 seconds.")
            response = _json(503, away.body(request_id_of(request)))
        await response(scope, receive, send)

    async def _once(self, request: Request, key: str) -> Response:
        if not KEY.fullmatch(key):
            raise ProductError(
                422, "invalid", "Idempotency-Key: expected 1 to 128 visible ASCII characters", field="Idempotency-Key"
            )
        parts, size = [], 0
        async for part in request.stream():
            parts.append(part)
            if (size := size + len(part)) > self._largest:
                raise ProductError(413, "too_large", f"The body is over the limit of {self._largest} bytes.")
        body = b"".join(parts)
        said = "\0".join((request.method, request.url.path, request.url.query)).encode() + b"\0" + body
        digest = hashlib.sha256(said).hexdigest()
        client = hashlib.sha256(request.headers.get("authorization", "").encode()).hexdigest()
        begun = time.time()
        kept = await run_in_threadpool(self._begin, client, key, digest, begun)
        if kept is not None:
            return Response(kept[1], kept[0], {"Idempotent-Replay": "true"}, media_type="application/json")
        try:
            status, headers, answer = await self._run(request.scope, body)
        except BaseException:
            await asyncio.shield(run_in_threadpool(self._end, client, key, begun, None, ""))
            raise
        keep = (status < 500 and status != 429) and len(answer) <= LARGEST_ANSWER and _is_json(headers)
        await asyncio.shield(
            run_in_threadpool(self._end, client, key, begun, status if keep else None, answer.decode())
        )
        response = Response(answer, status)
        response.raw_headers = headers
        return response

    async def _run(self, scope: Scope, body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        sent: list[bytes] = []
        start: dict[str, object] = {}
        given = False

        async def receive() -> dict[str, object]:
            nonlocal given
            if given:
                await asyncio.sleep(3600)
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: object) -> None:
            assert isinstance(message, dict)
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                sent.append(message.get("body", b""))

        await self._app(scope, receive, send)
        status, headers = start["status"], start["headers"]
        assert isinstance(status, int) and isinstance(headers, list)
        return status, headers, b"".join(sent)

    def _begin(self, client: str, key: str, digest: str, now: float) -> tuple[int, str] | None:
        """Take a key, or return the answer that is kept under it."""
        given = ANSWERS.c
        mine = sa.and_(given.client == client, given.key == key)
        with self._database.writing() as connection:
            if now - self._swept_at > 600:
                connection.execute(sa.delete(ANSWERS).where(given.time < now - KEPT_S))
                self._swept_at = now
            row = {"client": client, "key": key, "request": digest, "status": None, "answer": None, "time": now}
            found = connection.execute(sa.select(ANSWERS).where(mine).with_for_update()).first()
            if found is None:
                self._database.add_new(connection, ANSWERS, [row])
                found = connection.execute(sa.select(ANSWERS).where(mine)).one()
                if found.time == now and found.request == digest and found.status is None:
                    return None
            elif found.time < now - KEPT_S or (found.status is None and found.time < now - UNDER_WAY_S):
                connection.execute(sa.update(ANSWERS).where(mine).values(**row))
                return None
        if found.request != digest:
            raise ProductError(
                409, "idempotency_conflict", "This Idempotency-Key was used for another request. Use a new one."
            )
        if found.status is None:
            raise ProductError(
                409, "under_way", "The first request with this Idempotency-Key is not answered yet. Try again."
            )
        return int(found.status), str(found.answer)

    def _end(self, client: str, key: str, begun: float, status: int | None, answer: str) -> None:
        """Keep the answer, or free the key; one that was taken over meanwhile is another request's."""
        mine = sa.and_(ANSWERS.c.client == client, ANSWERS.c.key == key, ANSWERS.c.time == begun)
        with self._database.writing() as connection:
            if status is None:
                connection.execute(sa.delete(ANSWERS).where(mine))
            else:
                connection.execute(sa.update(ANSWERS).where(mine).values(status=status, answer=answer))


def _is_json(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"application/json") for name, value in headers)


def _json(status: int, body: object) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(body, status)
