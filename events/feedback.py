"""What people post to /feedback, read without trusting it."""

import re
from typing import Any

import orjson

from events.labels import AT_ONCE, LONGEST, Label

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
MOST_INSTANCES = 2**31 - 1
FIELDS = {"request_id", "label", "instance"}


class FeedbackError(Exception):
    """Labels cannot be taken as they came.

    Parameters
    ----------
    status
        400 when the body is not JSON, 422 when it is and a field is not acceptable.
    field, expected, received
        Where, what was expected there, and what came.
    """

    def __init__(self, status: int, field: str, expected: str, received: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {received}")
        self.status = status
        self.field = field
        self.expected = expected
        self.received = received

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body of the answer, of the same form as the gateway's."""
        told = {"field": self.field, "expected": self.expected, "received": self.received}
        code = "undecodable" if self.status == 400 else "invalid"
        return {"error": {"code": code, "message": str(self), "request_id": request_id, **told}}


def read_labels(body: bytes) -> list[Label]:
    """Read one label, or a list of them under ``labels``.

    Raises
    ------
    FeedbackError
        If any of them is not acceptable; none is taken then.
    """
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FeedbackError(400, "body", "a JSON object in UTF-8", f"something else ({error})") from None
    if not isinstance(given, dict):
        raise FeedbackError(422, "body", 'an object with "request_id" and "label", or with "labels"', _told(given))
    if "labels" not in given:
        return [_label(given, "")]
    if unknown := given.keys() - {"labels"}:
        raise FeedbackError(422, min(unknown), 'no field beside "labels"', _told(given[min(unknown)]))
    labels = given["labels"]
    if not isinstance(labels, list) or not 1 <= len(labels) <= AT_ONCE:
        raise FeedbackError(422, "labels", f"a list of 1 to {AT_ONCE} labels", _told(labels))
    return [_label(one, f"labels[{place}]") for place, one in enumerate(labels)]


def _label(given: Any, place: str) -> Label:
    prefix = f"{place}." if place else ""
    if not isinstance(given, dict):
        raise FeedbackError(422, place, 'an object with "request_id" and "label"', _told(given))
    if unknown := given.keys() - FIELDS:
        raise FeedbackError(422, prefix + min(unknown), "no such field", _told(given[min(unknown)]))
    request_id, label, instance = given.get("request_id"), given.get("label"), given.get("instance", 0)
    if not isinstance(request_id, str) or not REQUEST_ID.fullmatch(request_id):
        expected = "the X-Request-Id of an answer: 1 to 128 letters, digits or . _ : -"
        raise FeedbackError(422, f"{prefix}request_id", expected, _told(request_id))
    if not isinstance(label, str) or not 1 <= len(label) <= LONGEST or "\0" in label:
        raise FeedbackError(422, f"{prefix}label", f"a string of 1 to {LONGEST} characters", _told(label))
    if isinstance(instance, bool) or not isinstance(instance, int) or not 0 <= instance <= MOST_INSTANCES:
        expected = "the instance's place in the request, from 0"
        raise FeedbackError(422, f"{prefix}instance", expected, _told(instance))
    return Label(request_id, label, instance)


def _told(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"{'an array' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, str):
        return f"the string {value[:40]!r}" + ("…" if len(value) > 40 else "")
    return "nothing" if value is None else f"{value!r:.40}"
