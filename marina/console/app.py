"""The console as an application: its pages under ``/console``, the control API under ``/api``.

Every answer bears a policy under which a browser runs no script but ours and lets no other site frame a page.
"""

import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archives.errors import MarinaError
from marina.console import (
    alert_pages,
    control_api,
    ledger_pages,
    model_pages,
    overview_pages,
    product_pages,
    registry_pages,
    review_pages,
    rollout_pages,
    rule_pages,
    sign_in,
)
from marina.console.context import Context
from marina.console.errors import RefusedError
from marina.console.rendering import HERE, local
from marina.database.connection import AWAY, Database
from marina.processes.console import log
from marina.settings import Settings

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
LARGEST_BODY = 1024 * 1024
AGAIN_S = 2


def application(database: Database, settings: Settings) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    database
        One for a writer of the ledger (`marina.releases.heads.open_database`).
    """
    context = Context.of(database, settings)
    app = FastAPI(
        title="Marina control API",
        version="1",
        openapi_url="/console/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    app.add_middleware(_Guarded)
    app.mount("/console/static", StaticFiles(directory=HERE / "static"))
    app.include_router(control_api.router(context.access, context.decisions, context.figures))
    for pages in (
        sign_in, overview_pages, rollout_pages, alert_pages, model_pages, ledger_pages, registry_pages, review_pages,
        rule_pages, product_pages,
    ):  # fmt: skip
        app.include_router(pages.router(context))
    handlers: dict[Any, Callable[[Request, Any], Response]] = {
        RefusedError: lambda request, error: _refuse(context, request, error),
        MarinaError: lambda request, error: _refuse(context, request, RefusedError(409, "cannot", str(error))),
        HTTPException: lambda request, error: _refuse(context, request, _of_http(error)),
        RequestValidationError: lambda request, error: _refuse(context, request, _of_fields(error)),
        sa.exc.SQLAlchemyError: lambda request, error: _refuse(context, request, _of_database(error)),
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    return app


class _Guarded:
    """Adds the headers of every answer, and reads no body that is too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = LARGEST_BODY
        sized = Headers(scope=scope).get("content-length", "0")
        if not sized.isdecimal() or int(sized) > LARGEST_BODY:
            said = {"code": "too_large", "message": f"A body has at most {LARGEST_BODY} bytes.", "request_id": ""}
            await JSONResponse({"error": said}, 413, HEADERS)(scope, receive, send)
            return

        async def take() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise RefusedError(413, "too_large", f"A body has at most {LARGEST_BODY} bytes.")
            return message

        async def give(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                static = scope["path"].startswith("/console/static/") and message["status"] == HTTPStatus.OK
                headers["cache-control"] = "public, max-age=86400" if static else "no-store"
            await send(message)

        await self._app(scope, take, give)


def _refuse(context: Context, request: Request, error: RefusedError) -> Response:
    headers = {"retry-after": str(error.retry_after_s)} if error.retry_after_s else {}
    if not request.url.path.startswith("/console"):
        said = {"code": error.code, "message": str(error), "request_id": request.headers.get("x-request-id", "")[:128]}
        return JSONResponse({"error": said}, error.status, headers)
    if error.status == HTTPStatus.UNAUTHORIZED and request.method == "GET":
        address = local(request.url.path)
        onward = f"?next={address}" if address != "/console" else ""
        return Response(status_code=303, headers={"location": f"/console/sign-in{onward}"})
    try:
        visitor = context.access.visitor(request)
    except AWAY:
        visitor = None
    answer = context.pages.page(request, "refused.html", visitor, error.status, said=str(error))
    answer.headers.update(headers)
    return answer


def _of_http(error: HTTPException) -> RefusedError:
    words = {404: ("no_such_path", "There is no such page."), 405: ("method_not_allowed", "Not by that method.")}
    code, message = words.get(error.status_code, ("refused", str(error.detail)))
    return RefusedError(error.status_code, code, message)


def _of_fields(error: RequestValidationError) -> RefusedError:
    first = error.errors()[0]
    return RefusedError(422, "field", f"{'.'.join(str(part) for part in first['loc'][1:])[:100]}: {first['msg']}")


def _of_database(error: sa.exc.SQLAlchemyError) -> RefusedError:
    log(f"console: {str(error).splitlines()[0]}", sys.stderr)
    text = f"The database is unavailable, and nothing was changed. Try again in {AGAIN_S} seconds."
    return RefusedError(503, "database_away", text, AGAIN_S)
