"""What people post to /feedback, read without trusting it."""

import re
from typing import Any

import orjson

from marina.events.labels import AT_ONCE, LONGEST, Label
from marina.events.truths import LARGEST, MOST_PARTS, Sent, is_finite

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
MOST_INSTANCES = 2**31 - 1
FIELDS = {"request_id", "label", "truth", "instance"}
OF_ROW = {"row", "anomalous"}

LONGEST_PART = 200
"""Characters of a question's or a target's name."""


class FeedbackError(Exception):
    """Labels cannot be taken as they came.

    Parameters
    ----------
    status
        400 when the body is not JSON, 413 when it is too large, 422 when a field of it is not acceptable.
    field, expected, received
        Where, what was expected there, and what came.
    code
        What it is called in the answer's body; by default after the status.
    next_step
        What to do, where that is not plain.
    """

    def __init__(
        self, status: int, field: str, expected: str, received: str, *, code: str = "", next_step: str = ""
    ) -> None:
        super().__init__(f"{field}: expected {expected}, got {received}{'. ' * bool(next_step)}{next_step}")
        self.status = status
        self.code = code or {400: "undecodable", 413: "too_large"}.get(status, "invalid")
        self.field = field
        self.expected = expected
        self.received = received

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body of the answer, of the same form as the gateway's."""
        fields = {"field": self.field, "expected": self.expected, "received": self.received}
        return {"error": {"code": self.code, "message": str(self), "request_id": request_id, **fields}}


def read_labels(body: bytes, source: str) -> list[Label]:
    """Read one label or truth, or a list of them under ``labels``, of the source that the gateway names.

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
        raise FeedbackError(
            422, "body", 'an object with "request_id" and "label" or "truth", or with "labels"', _describe(given)
        )
    if "labels" not in given:
        return [_label(given, "", source)]
    if unknown := given.keys() - {"labels"}:
        raise FeedbackError(422, min(unknown), 'no field beside "labels"', _describe(given[min(unknown)]))
    labels = given["labels"]
    if not isinstance(labels, list) or not 1 <= len(labels) <= AT_ONCE:
        raise FeedbackError(422, "labels", f"a list of 1 to {AT_ONCE} labels", _describe(labels))
    return [_label(one, f"labels[{place}]", source) for place, one in enumerate(labels)]


def _label(given: Any, place: str, source: str) -> Label:
    prefix = f"{place}." if place else ""
    if not isinstance(given, dict):
        raise FeedbackError(422, place, 'an object with "request_id" and "label"', _describe(given))
    if unknown := given.keys() - FIELDS:
        raise FeedbackError(422, prefix + min(unknown), "no such field", _describe(given[min(unknown)]))
    request_id, instance = given.get("request_id"), given.get("instance", 0)
    if not isinstance(request_id, str) or not REQUEST_ID.fullmatch(request_id):
        expected = "the X-Request-Id of an answer: 1 to 128 letters, digits or . _ : -"
        raise FeedbackError(422, f"{prefix}request_id", expected, _describe(request_id))
    truth = given.get("truth")
    if "truth" in given and "label" in given:
        raise FeedbackError(422, f"{prefix}truth", 'either "label" or "truth"', "both")
    label, place = given.get("label"), f"{prefix}label"
    if isinstance(truth, dict) and truth.keys() == {"label"} and not isinstance(truth["label"], bool | int | float):
        label, truth, place = truth["label"], None, f"{prefix}truth.label"
    if isinstance(instance, bool) or not isinstance(instance, int) or not 0 <= instance <= MOST_INSTANCES:
        expected = "the instance's place in the request, from 0"
        raise FeedbackError(422, f"{prefix}instance", expected, _describe(instance))
    if "truth" in given and place == f"{prefix}label":
        return Label(request_id, "", instance, source, truth=_truth(truth, f"{prefix}truth").text)
    is_text = not isinstance(label, int | float) or isinstance(label, bool)
    if not is_text:
        label = orjson.dumps(label).decode()  # no class of any model; what it looks like is suggested
    if not isinstance(label, str) or not 1 <= len(label) <= LONGEST or "\0" in label:
        raise FeedbackError(422, place, f"a string of 1 to {LONGEST} characters", _describe(label))
    return Label(request_id, label, instance, source, is_text)


def _truth(given: Any, place: str) -> Sent:
    """Read what is true of parts of an answer; whether it has these parts is known with the answer."""
    rows = [given] if isinstance(given, dict) and given.keys() == OF_ROW else given
    if not isinstance(rows, dict | list) or not 1 <= len(rows) <= MOST_PARTS:
        expected = f"an object of 1 to {MOST_PARTS} values by name, or a list of as many rows"
        raise FeedbackError(422, place, expected, _describe(given))
    if isinstance(rows, dict):
        return Sent(
            "parts", {_part(name, place): _value(value, f"{place}.{name[:64]}") for name, value in rows.items()}
        )
    found: dict[str, bool | float] = {}
    for at, one in enumerate(rows):
        where = place if rows is not given else f"{place}[{at}]"
        row, anomalous = _row(one, where)
        if str(row) in found:
            raise FeedbackError(422, f"{where}.row", "each row once", f"row {row} twice")
        found[str(row)] = anomalous
    return Sent("rows", found)


def _row(given: Any, place: str) -> tuple[int, bool]:
    if not isinstance(given, dict):
        raise FeedbackError(422, place, 'an object with "row" and "anomalous"', _describe(given))
    if unknown := given.keys() - OF_ROW:
        raise FeedbackError(422, f"{place}.{min(unknown)[:64]}", "no such field", _describe(given[min(unknown)]))
    row, anomalous = given.get("row"), given.get("anomalous")
    if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row <= MOST_INSTANCES:
        raise FeedbackError(422, f"{place}.row", "the row's place in the instance, from 0", _describe(row))
    if not isinstance(anomalous, bool) and (not isinstance(anomalous, int) or anomalous not in (0, 1)):
        raise FeedbackError(422, f"{place}.anomalous", "true or false (or 1 or 0)", _describe(anomalous))
    return row, bool(anomalous)


def _part(name: str, place: str) -> str:
    if not 1 <= len(name) <= LONGEST_PART or "\0" in name:
        expected = f"names of 1 to {LONGEST_PART} characters"
        raise FeedbackError(422, f"{place}.{name[:64]}", expected, f"one of {len(name)}")
    return name


def _value(given: Any, place: str) -> bool | float:
    if not is_finite(given):
        expected = f"true, false, or a number from {-LARGEST:.0e} to {LARGEST:.0e}"
        raise FeedbackError(422, place, expected, _describe(given))
    value: bool | float = given
    return value


def _describe(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"{'an array' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, str):
        return f"the string {value[:40]!r}" + ("…" if len(value) > 40 else "")
    return "nothing" if value is None else f"{value!r:.40}"
