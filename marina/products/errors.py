"""What is refused, and how: the gateway's form, ``{"error": {"code", "message", "request_id", …}}``."""

import re
import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from archives.errors import MarinaError

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

CODES = {400: "undecodable", 404: "no_such_path", 405: "method_not_allowed", 413: "too_large", 422: "invalid"}


class ProductError(MarinaError):
    """A request that is not answered.

    Parameters
    ----------
    status
        Its HTTP status.
    code
        What programs know it by.
    message
        What went wrong and what to do, for people.
    more
        Further fields of the error.
    """

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.more = more

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the answer's body."""
        return {"error": {"code": self.code, "message": str(self), "request_id": request_id, **self.more}}


class RelayedError(ProductError):
    """What the model server refused, in its own words.

    Parameters
    ----------
    status, said
        Its answer; the request id in it is put in the place of this one's.
    retry_after
        What it said of trying again.
    """

    def __init__(self, status: int, said: Mapping[str, Any], retry_after: str | None = None) -> None:
        more = {name: value for name, value in said.items() if name not in ("code", "message", "request_id")}
        super().__init__(status, str(said.get("code", "refused")), str(said.get("message", "")), **more)
        self.retry_after = retry_after


def request_id_of(request: Request) -> str:
    """Return the request's id: the gateway's, else a new one."""
    given = request.headers.get("x-request-id", "")
    if not hasattr(request.state, "request_id"):
        request.state.request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return str(request.state.request_id)


def add_handlers(app: FastAPI) -> None:
    """Have every error answered in the gateway's form."""

    def product(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProductError)
        wait = getattr(error, "retry_after", None) or {429: "1", 503: "2"}.get(error.status)
        headers = {"Retry-After": wait} if wait else None
        return JSONResponse(error.body(request_id_of(request)), error.status, headers)

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = [str(one) for one in first["loc"] if one not in ("body", "query", "path", "header")]
        field = "".join(f"[{one}]" if one.isdigit() else f".{one}" for one in place).lstrip(".") or "body"
        broken = first["type"] == "json_invalid"
        message = "body: expected JSON" if broken else f"{field}: {_plain(first['msg'])}"
        refusal = ProductError(
            400 if broken else 422, CODES[400 if broken else 422], message, field="body" if broken else field
        )
        return product(request, refusal)

    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = "GET /docs lists what there is." if error.status_code == 404 else str(error.detail)
        body = ProductError(error.status_code, CODES.get(error.status_code, "refused"), message)
        return JSONResponse(body.body(request_id_of(request)), error.status_code, error.headers)

    def away(request: Request, _: Exception) -> Response:
        return product(request, ProductError(503, "database_away", "The database is unavailable. Send the same again."))

    app.add_exception_handler(ProductError, product)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(sa.exc.SQLAlchemyError, away)


def _plain(text: str) -> str:
    """Write a validator's sentence as the other errors are written."""
    text = text.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
