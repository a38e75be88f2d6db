"""Requests that must be refused, for every test that sends some."""

import io
import json
from dataclasses import dataclass

import numpy as np

from handlers.decoding import JSON


@dataclass(frozen=True)
class Bad:
    """A request that must be refused: with which status, and blaming which field."""

    body: bytes
    status: int
    field: str = ""
    content_type: str = JSON
    more: tuple[tuple[str, str], ...] = ()

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers."""
        return ({"Content-Type": self.content_type} if self.content_type else {}) | dict(self.more)


def npy(array: np.ndarray) -> bytes:
    """Return an array as a .npy body."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def sent(value: object, status: int = 422, field: str = "") -> Bad:
    """Return a JSON request that must be refused."""
    return Bad(json.dumps(value).encode(), status, field)


def bad_anywhere(good: dict[str, object]) -> dict[str, Bad]:
    """Return what no model may take, whatever it reads, by name.

    Parameters
    ----------
    good
        A body that the model answers; what is wrong is put into copies of it.
    """
    whole = json.dumps(good).encode()
    return {
        "empty body": Bad(b"", 400),
        "not JSON": Bad(b"features=1", 400),
        "JSON cut short": Bad(whole[:-1], 400),
        "JSON with trailing text": Bad(whole + b" x", 400),
        "bad UTF-8": Bad(b'{"session": "\xff\xfe"}', 400),
        "NaN literal": Bad(b'{"top_k": NaN}', 400),
        "infinity literal": Bad(b'{"top_k": Infinity}', 400),
        "a 400-digit number": Bad(b'{"top_k": ' + b"9" * 400 + b"}", 400),
        "deep nesting": Bad(b'{"session": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        "pickle bytes as JSON": Bad(b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94.", 400),
        "an array at the top": sent([good], field="body"),
        "null at the top": sent(None, field="body"),
        "a string at the top": sent("features", field="body"),
        "a number at the top": sent(3, field="body"),
        "no field": sent({}),
        "an unknown field": sent({**good, "surprise": 1}, field="surprise"),
        "top_k 0": sent({**good, "top_k": 0}, field="top_k"),
        "top_k 10^9": sent({**good, "top_k": 10**9}, field="top_k"),
        "top_k negative": sent({**good, "top_k": -1}, field="top_k"),
        "top_k a string": sent({**good, "top_k": "3"}, field="top_k"),
        "top_k true": sent({**good, "top_k": True}, field="top_k"),
        "top_k 2.5": sent({**good, "top_k": 2.5}, field="top_k"),
        "session a number": sent({**good, "session": 7}, field="session"),
        "session too long": sent({**good, "session": "s" * 1000}, field="session"),
        "session empty": sent({**good, "session": ""}, field="session"),
        "instances an object": sent({"instances": {}}, field="instances"),
        "instances empty": sent({"instances": []}, field="instances"),
        "instances null": sent({"instances": None}, field="instances"),
        "an instance a list": sent({"instances": [good, []]}, field="instances[1]"),
        "an instance null": sent({"instances": [good, None]}, field="instances[1]"),
        "an empty instance": sent({"instances": [good, {}]}, field="instances[1]"),
        "an instance with an unknown field": sent(
            {"instances": [{**good, "surprise": 1}]}, field="instances[0].surprise"
        ),
        "instances beside a field": sent({"instances": [good], **good}),
        "too many instances": sent({"instances": [{}] * 10_000}, field="instances"),
        "no content type": Bad(b"features=1", 415, "", ""),
        "unknown content type": Bad(b"<features/>", 415, "", "application/xml"),
        "form content type": Bad(b"features=1", 415, "", "application/x-www-form-urlencoded"),
        "compressed body": Bad(b"\x1f\x8b", 415, "", JSON, (("Content-Encoding", "gzip"),)),
    }
