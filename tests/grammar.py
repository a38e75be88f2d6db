"""Requests near those that a model answers, by chance: what a careless or hostile client might send.

One `random.Random` decides everything, so a seed names a request for ever; hypothesis brings its own, and finds the
smallest request that breaks a promise.
"""

import copy
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from handlers.decoding import JSON, NPY
from tests.bad_requests import npy

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -0.0, 1, -1, 3, 0.5, 1.5, 5e-324, 1e-300, 1e16, 1e300, -1.7976931348623157e308),
    *(2**31, 2**53 + 1, 2**63, 2**64 - 1, 2**64, -(2**63)),
    *(
        "",
        " ",
        "a",
        "1.5",
        "true",
        "NaN",
        "None",
        "BTC",
        "x" * 200,
        "x" * 201,
        "x " * 5_000,
        "%s%n{}",
        "<b>",
        "' OR 1=1",
    ),
    *("\x00", "\x7f", "\u00ad", "\u200b", "\u202e", "\ufeff", "\u0130", "\u00df", "\ufb03", "\u2126", "\U000103ff"),
    *("e\u0301" * 50, "\u0301" * 200, "\u00e9" * 200, "\u4e2d\u6587" * 60, "\U0001f642" * 50, "\x01" * 200),
    *(
        "2026-02-30",
        "0000-00-00",
        "2026-11",
        "2026-00",
        "2026-1 ",
        "\uff12\uff10\uff12\uff16-11-21",
        "1900-01-01",
        "9999-12-31",
    ),
    *("2026-11-21T14:00:00Z", "2026-11-21T14:00+23:59", "0001-01-01T00:00:00-23:59", "20261121T140000"),
    *([], {}, [[]], [None], [0], {"": None}, {"a": {}}, [1.0] * 225, [None] * 400, {f"k{k}": k for k in range(50)}),
)
"""What is put where something else belongs."""

RAW = (
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "1e-400",
        "1E+2",
        "-0",
        "0.0e0",
        "01",
        "+1",
        ".5",
        "1.",
        "0x10",
    ),
    *("1_000", "9" * 400, "0." + "9" * 400, "'a'", "True", "undefined", "//", "", "\u2028", '"\t"', "1 2", ",", "}"),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x"'),
    *("[" * 2_000 + "]" * 2_000, '{"a":' * 900 + "1" + "}" * 900, "[" * 1_000),
)
"""What is no JSON, or barely: put into the text as it is."""

DTYPES = (
    *("<f4", "<f8", ">f4", "=f4", "|f4", "<f2", "<f16", "<i8", "|b1", "|O", "|V8", "<U9", "<M8[s]"),
    *("f4,f8", "(2,)f4", "<f4\\", "\u00e9"),
)
SHAPES = (
    *("()", "(0,)", "(1,)", "(225,)", "(2, 225)", "(225, 2)", "(2, 75, 3)", "(0, 225)", "(1, 0)"),
    *("(2 225)", "(,)", "(-1, 225)", "[2, 225]", "(2.0,)", "(00002, 00225)"),
    *("(" + "1, " * 65 + ")", "(" + "1, " * 5 + ")", "(" + "9" * 3000 + ",)", "(0, 100000000000000000000)"),
    *("(0, 999999999999, 999999999999)", "(4294967296, 4294967296, 4294967296, 4294967296)"),
)

TYPES = (
    *("", ";", "text/plain", "application/JSON", "application/json;charset=latin-1", "application/json, text/html"),
    *("*/*", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/octet-stream"),
    *("application/" + "x" * 3000, "\u00e9/\u00e9"),
)
NUMBERS = (
    *("1", "0", "-1", "3", "1e3", " 2", "\uff12", "\u00b2", "\u0663", "9" * 9, "9" * 3000),
    *("", "x", "1.0", "+1", "True", "None"),
)


@dataclass(frozen=True)
class Sent:
    """One request's body and headers."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Grammar:
    """Makes requests out of `good` ones.

    Parameters
    ----------
    chance
        Decides everything.
    good
        Bodies that the model answers.
    """

    def __init__(self, chance: random.Random, good: Sequence[dict[str, Any]]) -> None:
        self._chance = chance
        self._good = good

    def request(self) -> Sent:
        """Return one request: mostly JSON with something wrong in it, sometimes an array, sometimes bytes."""
        kind = self._chance.random()
        if kind < 0.15:
            return Sent(self._array(), self._headers(NPY))
        if kind < 0.2:
            return Sent(self._chance.randbytes(self._chance.randrange(200)), self._headers(JSON))
        return Sent(self._json(), self._headers(JSON))

    def _pick(self, among: Sequence[Any]) -> Any:
        return self._chance.choice(among)

    def _maybe(self, probability: float) -> bool:
        return self._chance.random() < probability

    def _headers(self, kind: str) -> dict[str, str]:
        headers = {"Content-Type": kind if self._maybe(0.9) else self._pick((JSON, NPY, *TYPES))}
        for name, values, probability in (
            ("X-Top-K", NUMBERS, 0.15),
            ("X-TTA", ("true", "false", "TRUE", *NUMBERS), 0.15),
            ("explain", ("True", "False", "true"), 0.2),
            ("Content-Encoding", ("identity", "gzip", "br, gzip", ""), 0.05),
            ("X-Request-Id", ("a", "", "x" * 3000, "é", '"}{'), 0.1),
        ):
            if self._maybe(probability):
                headers[name] = self._pick(values)
        return headers

    # ---- JSON ---------------------------------------------------------------------------------------------------

    def _json(self) -> bytes:
        value: Any = copy.deepcopy(self._pick(self._good))
        if self._maybe(0.3):
            value = {"instances": [value, *copy.deepcopy(list(self._good))][: self._pick((1, 2, 3, 400))]}
        raw: dict[str, str] = {}
        for _ in range(self._pick((0, 1, 1, 1, 2, 3))):
            value = self._changed(value, raw)
        text = json.dumps(value, ensure_ascii=self._maybe(0.5))
        for mark, token in raw.items():
            text = text.replace(f'"{mark}"', token)
        if self._maybe(0.1) and text.startswith("{"):  # a name twice
            text = text[:-1] + "," + text[1:]
        body = text.encode("utf-8", "surrogatepass")
        return self._damaged(body) if self._maybe(0.1) else body

    def _changed(self, value: Any, raw: dict[str, str]) -> Any:
        """Change something somewhere in a value."""
        if isinstance(value, dict | list) and value and self._maybe(0.75):
            at = self._pick(sorted(value)) if isinstance(value, dict) else self._chance.randrange(len(value))
            value[at] = self._changed(value[at], raw)
            return value
        change = self._chance.randrange(8)
        if change == 0:
            mark = f"@{len(raw)}@"
            raw[mark] = self._pick(RAW)
            return mark
        if change == 1:
            return self._pick(([value], {"features": value}, {"": [value]}))
        if change < 6 and isinstance(value, dict) and value:
            return self._other_fields(value)
        if change < 6 and isinstance(value, list) and value:
            return self._other_items(value)
        if change < 6 and type(value) in (int, float):
            return value * self._pick((-1, 0, 1e-9, 1e9, 1e300, 1e308))
        return self._value()

    def _other_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        one, other = self._pick(sorted(fields)), self._pick(sorted(fields))
        if self._maybe(0.3):
            del fields[one]
        elif self._maybe(0.5):
            name = self._pick(
                (
                    "top_k",
                    "session",
                    "tta",
                    "embedding",
                    "prototypes",
                    "calibration_of",
                    "instances",
                    "",
                    "x" * 300,
                    "\u00e9",
                    "__class__",
                )
            )
            fields[name] = self._value()
        else:
            fields[one], fields[other] = fields[other], fields[one]
        return fields

    def _other_items(self, items: list[Any]) -> list[Any]:
        if self._maybe(0.3):
            return items[: self._chance.randrange(len(items))]
        if self._maybe(0.5):
            return (items * 3)[: len(items) + self._pick((1, 2, len(items)))]
        self._chance.shuffle(items)
        return items

    def _value(self) -> Any:
        return copy.deepcopy(self._pick(VALUES))

    def _damaged(self, body: bytes) -> bytes:
        at, to = sorted(self._chance.randrange(len(body) + 1) for _ in range(2))
        damaged: bytes = self._pick(
            (
                body[:at],
                body[at:],
                body[:at] + body[to:],
                body[:at] + self._chance.randbytes(3) + body[at:],
                b"\xef\xbb\xbf" + body,
                body + b"\x00",
                body + body,
                body.replace(b" ", b"\r\n\t"),
            )
        )
        return damaged

    # ---- arrays -------------------------------------------------------------------------------------------------

    def _array(self) -> bytes:
        if self._maybe(0.4):
            shape = self._pick(((2, 225), (1, 75, 3), (3, 28), (16,), (5, 1), (0, 225), (225,), ()))
            fill = self._pick((0.0, 0.5, np.nan, np.inf, -1e31, 5e3, 1e-40))
            whole = npy(np.full(shape, fill, self._pick((np.float32, np.float64))))
            return self._damaged(whole) if self._maybe(0.3) else whole
        order = self._pick(("True", "False", "false", "0"))
        header = f"{{'descr': '{self._pick(DTYPES)}', 'fortran_order': {order}, 'shape': {self._pick(SHAPES)}, }}"
        text: bytes = self._pick((header, header, header + "\n", header[:-5], "", header.replace("'", '"'))).encode()
        version: bytes = self._pick((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x00\x00", b"\xff\x00"))
        size = len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little")
        return b"\x93NUMPY" + version + size + text + bytes(self._pick((0, 1, 4, 8, 900, 1800, 3600)))
