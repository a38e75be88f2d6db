"""The path of a request, and what can go wrong on each leg of it.

::

    bytes ──decode──▶ fields ──validate──▶ item ──prepare──▶ arrays ──engine──▶ outputs ──phrase──▶ answer
      │                 │                                      │                                    │
       400, 415        422                                    590                                  590

====================== ====== ===========================================================================
error                  status contract with the caller
====================== ====== ===========================================================================
`UndecodableError`     400    The body is not what its content type says. Send the same thing, encoded
                              correctly; the message says where decoding stopped.
`ContentTypeError`     415    Nobody here reads that content type. The message lists those that are read.
`InvalidError`         422    Decoded, but a field is not acceptable: the message names the field, what was
                              expected and what came.
`InternalError`        590    Our fault. The gateway turns it into 500 with the request id to quote, and
                              does not retry it: 500, 502, 504 and 507 mean a dead worker to the gateway,
                              and a request that a living handler failed would fail again.
====================== ====== ===========================================================================

413 (body too large) and 503 (overloaded) are never made here: the gateway refuses large bodies before they are read,
and a full queue is TorchServe's to notice and the gateway's to phrase.
"""

from typing import Any, Self


class RequestError(Exception):
    """One request cannot be answered; its neighbours in the batch are not concerned.

    Parameters
    ----------
    message : str
        What is wrong and what to do about it.
    field : str
        Where, as a path such as ``instances[2].frames[7]``; empty where no field is to blame.
    expected, received : str
        What was expected there, and what came.
    """

    status = 590
    code = "internal"

    def __init__(self, message: str, *, field: str = "", expected: str = "", received: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.expected = expected
        self.received = received

    def bare(self) -> Self:
        """Drop the frames the error came through, and return it.

        They hold the refused body, and the error, and would wait in a circle for the garbage collector.
        """
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body of the error's answer."""
        error = {"code": self.code, "message": str(self), "request_id": request_id}
        for name in ("field", "expected", "received"):
            if value := getattr(self, name):
                error[name] = value
        return {"error": error}


class UndecodableError(RequestError):
    """The body is not what its content type says."""

    status = 400
    code = "undecodable"


class ContentTypeError(RequestError):
    """Nobody here reads that content type."""

    status = 415
    code = "unsupported_content_type"


class InvalidError(RequestError):
    """A field is not acceptable."""

    status = 422
    code = "invalid"

    def __init__(self, field: str, expected: str, received: str) -> None:
        super().__init__(
            f"{field}: expected {expected}, got {received}", field=field, expected=expected, received=received
        )

    def inside(self, prefix: str) -> "InvalidError":
        """Return the same error about a field one level further down, such as ``instances[2].frames``."""
        return InvalidError(f"{prefix}.{self.field}", self.expected, self.received)


class InternalError(RequestError):
    """Our fault; the message gives no internals away."""

    def __init__(self) -> None:
        super().__init__("the model failed on this request; quote the request id when you report it")
