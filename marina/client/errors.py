"""What a call may end with besides an answer. `Error` is the base of all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Error(Exception):
    """A call was not answered."""


class ArgumentError(Error, ValueError):
    """The call cannot be made as it was written; the message says what was expected."""


class UnreachableError(Error):
    """No connection, or it broke before the answer was whole, until the deadline. Nothing is known of the request."""


class DeadlineError(Error, TimeoutError):
    """The deadline passed before there was an answer."""


class RefusedError(Error):
    """The server answered that it does not do this.

    Attributes
    ----------
    status
        Of the HTTP answer.
    code
        What programs know the refusal by (docs/SERVING.md); ``unknown`` where another server answered.
    message
        What went wrong and what to do.
    request_id
        To be quoted to the operator.
    details
        Further fields, such as ``field``, ``expected`` and ``received`` of a field that is not acceptable.
    """

    def __init__(
        self, status: int, code: str, message: str, request_id: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.details = dict(details or {})


class InvalidError(RefusedError):
    """The caller has to change something: status 400 to 422. Sending the same again gives the same."""


class BusyError(RefusedError):
    """Too many requests, or a model on its way back (429, 503), until the deadline; `retry_after_s` was advised."""

    retry_after_s: float = 0.0


class ServerError(RefusedError):
    """The server's fault: any other status from 500 on."""
