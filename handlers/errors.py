"""The path of a request, and what can go wrong on each leg of it.

::

    bytes ──decode──▶ fields ──validate──▶ item ──prepare──▶ arrays ──engine──▶ outputs ──phrase──▶ answer ──▶ bytes
      │                 │                          │            │                                    │           │
       503, 400, 415     422, 409, 592            592           590                                  590      422, 503

====================== ====== ===========================================================================
error                  status contract with the caller
====================== ====== ===========================================================================
`ExpiredError`         503    Its time was up before it was looked at: the server is busy. Come again when
                              Retry-After says.
`UndecodableError`     400    The body is not what its content type says. Send the same thing, encoded
                              correctly; the message says where decoding stopped.
`ContentTypeError`     415    That content type is not supported, or none was sent and the body is no JSON.
                              The message lists those that are read.
`InvalidError`         422    Decoded, but a field is not acceptable: the message names the field, what was
                              expected and what came.
`OtherVersionError`    409    Acceptable to another version, whose answers it holds: start again with this one,
                              or ask that one by its address. No version is to blame, so the gateway asks no
                              other.
`AnswerTooLargeError`  422    Acceptable, but the answer would be over `MAX_ANSWER_BYTES`. Ask for fewer
                              instances in one request, or for a smaller top_k.
`UnreadableError`      592    Decoding or preparing it failed in an unforeseen way. The gateway asks the
                              version that stands in, if one does: where that answers, the fault is ours; else it
                              is taken for the client's, and the answer is 422 with the request id to quote.
`CrowdedError`         503    Acceptable, but beside other large answers there was no room for this one. Come
                              again when Retry-After says.
`InternalError`        590    Our fault. The gateway turns it into 500 with the request id to quote, and
                              does not retry it: 500, 502, 504 and 507 mean a dead worker to the gateway,
                              and a request that a living handler failed would fail again.
====================== ====== ===========================================================================

413 (body too large) and 429 (overloaded) are never made here: the gateway refuses large bodies before they are read,
and a full queue is TorchServe's to notice and the gateway's to phrase.

A 400, 415 or 422 of a version under release is not the last word either: the gateway asks the version that stands in,
and where that answers, the refusal was the version's error.

Nothing that a client sent is quoted at length, so every error's answer is short.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

MAX_ANSWER_BYTES = 8 * 2**20
"""Largest answer, and most of what the answers of one batch take together.

They leave in one message. TorchServe copies all that it has of one for every 64 kB that arrive, so that more takes
seconds; and a message beyond its ``max_response_size`` (config.properties: twice this) kills the worker, with
everything that it was given.
"""

LONGEST_WORDS, LONGEST_QUOTE = 2000, 200
"""Characters of what we say in an error, and of what the client said."""


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
    headers: Mapping[str, str] = MappingProxyType({})
    """What the answer has besides, for the gateway."""

    def __init__(self, message: str, *, field: str = "", expected: str = "", received: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.expected = expected
        self.received = received

    @property
    def status_alone(self) -> int:
        """The status that a client gets of it from the gateway."""
        return {590: 500, 592: 422}.get(self.status, self.status)

    def bare(self) -> Self:
        """Drop the frames the error came through, and return it.

        They hold the refused body, and the error, and would wait in a circle for the garbage collector.
        """
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body of the error's answer."""
        error = {"code": self.code, "message": _cut(str(self), LONGEST_WORDS), "request_id": request_id}
        for name, longest in (("field", LONGEST_QUOTE), ("expected", LONGEST_WORDS), ("received", LONGEST_QUOTE)):
            if value := getattr(self, name):
                error[name] = _cut(value, longest)
        return {"error": error}


class ExpiredError(RequestError):
    """Its time was up before it was looked at; it is not worth a forward pass any more."""

    status = 503
    code = "expired"
    headers = MappingProxyType({"X-Expired": "1"})

    def __init__(self, waited_s: float, timeout_s: float) -> None:
        super().__init__(
            f"this request waited {waited_s:.1f} s for its turn, and its time limit is {timeout_s:g} s; try again later"
        )


class UndecodableError(RequestError):
    """The body is not what its content type says."""

    status = 400
    code = "undecodable"


class ContentTypeError(RequestError):
    """That content type is not supported."""

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


class OtherVersionError(RequestError):
    """A field holds what another version answered, which this one cannot use; `advice` says what to do."""

    status = 409
    code = "other_version"

    def __init__(self, field: str, expected: str, received: str, advice: str) -> None:
        super().__init__(
            f"{field}: expected {expected}, got {received}; {advice}",
            field=field, expected=expected, received=received,
        )  # fmt: skip


class UnreadableError(RequestError):
    """Decoding or preparing the request raised something else than a `RequestError`."""

    status = 592
    code = "unreadable"

    def __init__(self) -> None:
        super().__init__("the model cannot read this request; compare it with the model's documentation")


class AnswerTooLargeError(RequestError):
    """The answer would be larger than answers may be."""

    status = 422
    code = "answer_too_large"

    def __init__(self, size: int) -> None:
        super().__init__(
            f"the answer would take {size} bytes, of at most {MAX_ANSWER_BYTES}; ask for fewer instances in one "
            "request, or for a smaller top_k"
        )


class CrowdedError(RequestError):
    """One of the largest answers of a batch that together are too large for one message."""

    status = 503
    code = "answers_too_large"
    headers = MappingProxyType({"X-Expired": "crowded"})

    def __init__(self, size: int) -> None:
        super().__init__(
            f"this answer of {size} bytes did not fit beside other large ones; ask for fewer instances in one request, "
            "or try again later"
        )


class InternalError(RequestError):
    """Our fault; the message gives no internals away."""

    def __init__(self) -> None:
        super().__init__("the model failed on this request; quote the request id when you report it")


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
