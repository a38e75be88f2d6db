"""The page that shows the interface, from files of this package: no network is needed to read it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, Response

FOLDER: Final = Path(__file__).with_name("swagger_ui")

FILES: Final = {"swagger-ui-bundle.js": "text/javascript; charset=utf-8", "swagger-ui.css": "text/css; charset=utf-8"}

PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Marina: the products' interface</title><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><noscript>Without JavaScript: <a href="openapi.json">openapi.json</a></noscript><div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body></html>
"""

START: Final = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#page", validatorUrl: null, deepLinking: true});\n'

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def add_docs(app: FastAPI) -> None:
    """Answer ``GET /docs`` and the files that its page needs."""

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    async def start(_: Request) -> Response:
        return Response(START, media_type="text/javascript; charset=utf-8")

    app.add_route("/docs", page, include_in_schema=False)
    app.add_route("/docs/start.js", start, include_in_schema=False)
    for name, media_type in FILES.items():
        app.add_route(f"/docs/{name}", _sender(name, media_type), include_in_schema=False)


def _sender(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    packed = (FOLDER / f"{name}.gz").read_bytes()

    async def send(_: Request) -> Response:
        headers = {"Content-Encoding": "gzip", "Cache-Control": "public, max-age=86400", "Vary": "Accept-Encoding"}
        return Response(packed, media_type=media_type, headers=headers)

    return send
