"""The page of live signing: static files, the browser's landmark models where they were fetched, the demo's stream.

Nothing on the page is from another site, and its policy (Content-Security-Policy) allows nothing else: no script, no
connection, no picture. A camera's pictures cannot leave the browser.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from marina.products.live.assets import WANTED
from marina.products.live.demo_stream import DemoError, read_request, stream
from marina.settings import Settings
from models.signflow.landmarks import EDGES

STATIC: Final = Path(__file__).parent / "static"
HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self'",
            "media-src 'self' blob:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
}


def routes(settings: Settings, connected: Callable[[], int]) -> list[BaseRoute]:
    """Return what is answered by GET below ``/live/``.

    Parameters
    ----------
    connected
        How many sessions there are.
    """

    def status(_: Request) -> Response:
        """Say what the page can do here."""
        found = {
            "camera": all((settings.live_assets / name).is_file() for name in WANTED),
            "edges": EDGES,
            "token": bool(settings.inference_tokens),
            "sessions": {"connected": connected(), "most": settings.live_sessions},
        }
        return JSONResponse(found)

    def demo(request: Request) -> Response:
        try:
            frames = stream(read_request(settings.live_demo))
        except DemoError as error:
            ident = request.headers.get("x-request-id", "")
            return JSONResponse({"error": {"code": "no_demo", "message": str(error), "request_id": ident}}, 404)
        return Response(frames.astype("<f2").tobytes(), media_type="application/octet-stream")

    return [
        Route("/live/status", status),
        Route("/live/demo", demo),
        Mount("/live/assets", _Assets(directory=settings.live_assets, check_dir=False)),
        Mount("/live", StaticFiles(directory=STATIC, html=True)),
    ]


class _Assets(StaticFiles):
    """Files of a folder that may come later, or never."""

    async def check_config(self) -> None:
        """Let a folder that is not there be one without files."""


class Secured:
    """Adds `HEADERS` to every answer of an application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add(message)
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


def _add(message: MutableMapping[str, Any]) -> None:
    added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    message["headers"] = [*message.get("headers", ()), *added]
