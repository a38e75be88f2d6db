"""The models of every family behind the products' interface, in this process: real handlers, asked as by a gateway."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from starlette.types import ASGIApp

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS
from marina.events import api
from marina.serving.gateway_pool import Said
from marina.serving.traffic_routes import Routes
from tests.handlers import every


class Over:
    """The gateway, behind a transport of httpx's in place of connections."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._http = httpx.AsyncClient(transport=transport, base_url="http://gateway")

    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Said:
        answer = await self._http.post(path, headers=headers, content=body)
        names = {name.lower(): value for name, value in answer.headers.raw}
        return Said(answer.status_code, names, answer.content)

    async def aclose(self) -> None:
        await self._http.aclose()


class InProcessGateway(httpx.AsyncBaseTransport):
    """Hands requests to the handlers of `tests.handlers.every`, and feedback to the application that takes it.

    Attributes
    ----------
    asked
        Model and body of each request.
    down
        Whether nothing can be reached; `answer` puts a status in the place of every answer.
    """

    def __init__(self, database: Database) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.down = False
        self.answer: tuple[int, dict[str, Any]] | None = None
        self.version = "1.0"
        events: ASGIApp = api.application(database)
        self._events = httpx.ASGITransport(events)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        if self.down:
            raise httpx.ConnectError("no one listens")
        if request.url.path == "/feedback":
            return await self._events.handle_async_request(request)
        _, verb, model = request.url.path.split("/")
        self.asked.append((model, json.loads(body)))
        if self.answer is not None:
            return httpx.Response(self.answer[0], json=self.answer[1])
        headers = {"Content-Type": "application/json", "X-Request-Id": request.headers["x-request-id"]}
        if verb == "explanations":
            headers["explain"] = "True"
        whole = every.ask_whole(model, (body, headers))[0]
        said = {**whole.body, "version": self.version} if "version" in whole.body else whole.body
        return httpx.Response(whole.status, json=said, headers={"X-Model-Version": self.version})


def declare(database: Database, routes: Routes, model: str, shares: dict[str, float]) -> None:
    """Declare versions of a model, and give them these shares of its requests."""
    archive = next(iter(every.loaded(model)[1].glob("*.mar"))) if model in every.MODELS else Path("none.mar")
    with database.writing() as connection:
        connection.execute(sa.delete(DECLARATIONS).where(DECLARATIONS.c.model == model))
        for version, share in shares.items():
            connection.execute(
                sa.insert(DECLARATIONS).values(
                    model=model, version=version, archive=str(archive), sha256=f"{model}-{version}", weight=share,
                    input_share=0.0, declared_at=time.time(), signed_by="", workers=0,
                )
            )  # fmt: skip
    for version in shares:
        routes.declare(model, version)
        routes.open(model, version)
    routes.share(model, list(shares.items()))
