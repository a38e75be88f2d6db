"""Live signing: the process that answers ``/live/``, behind the gateway.

    python -m marina.products.live.service

It listens on ``live.sock`` in the folder that MARINA_RUN_DIR names. ``GET /live/`` is the page, ``/live/stream`` the
WebSocket (marina/products/live/connection.py). Who may connect from which page and host the gateway says, by the rule
that it has for labels.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from marina.products.live.connection import Connection, Policy
from marina.products.live.pages import Secured, routes
from marina.products.live.recogniser import Recogniser
from marina.products.live.session import Sessions
from marina.serving.gateway_pool import open_client
from marina.settings import Settings, read_settings

LARGEST_MESSAGE = 2 * 1024 * 1024
"""A person's takes, as JSON: eight of each of a hundred signs."""

STOP_S = 1
REST_S = 2
"""How much longer than the gateway itself a request is waited for."""


def application(settings: Settings, client: httpx.AsyncClient) -> Starlette:
    """Return the application.

    Parameters
    ----------
    client
        With the gateway's address. It is closed with the application.
    """
    sessions = Sessions(settings.live_sessions, settings.live_resume_s)
    recogniser = Recogniser(client, settings.live_model)
    policy = Policy(
        tokens=tuple(token.get_secret_value() for token in settings.inference_tokens),
        confidence=settings.live_confidence,
        partial_s=settings.live_partial_s,
        idle_s=settings.live_idle_s,
    )

    async def live(socket: WebSocket) -> None:
        await Connection(socket, sessions, recogniser, policy).run()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    def not_here(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = "Here are GET /live/, its files, /live/status and /live/demo, and the WebSocket /live/stream."
        if request.url.path.startswith("/live/assets/"):
            message = "The browser's landmark models are not here: make live-assets fetches them."
        body = {"code": "no_such_path", "message": message, "request_id": request.headers.get("x-request-id", "")}
        return JSONResponse({"error": body}, error.status_code, error.headers)

    return Starlette(
        routes=[WebSocketRoute("/live/stream", live), *routes(settings, lambda: sessions.connected)],
        middleware=[Middleware(Secured)],
        exception_handlers={HTTPException: not_here},
        lifespan=lifespan,
    )


def main() -> int:
    """Answer until SIGTERM or SIGINT."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit(0))  # uvicorn raises it again once it has stopped
    settings = read_settings()
    uvicorn.run(
        application(settings, open_client(settings, settings.request_timeout_s + REST_S)),
        uds=str(Path(os.environ["MARINA_RUN_DIR"]) / "live.sock"),
        ws="websockets-sansio",
        ws_max_size=LARGEST_MESSAGE,
        ws_per_message_deflate=False,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=STOP_S,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
