"""JSON that orjson does not take: read where its meaning is plain, and otherwise what is wrong with it, and where.

Read are bodies with a byte order mark (UTF-8, UTF-16, UTF-32) and strings that end in half of a surrogate pair, as text
does that was cut at a number of UTF-16 units; the half becomes U+FFFD. All else is refused with what to send instead.
Nothing here is run for a body that is as it should be, and a body costs a few times what it costs to read.
"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn

import orjson

from handlers.errors import UndecodableError

MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

MOST_SEARCHED: Final = 4 * 2**20
"""Characters of a body that is searched for the field at fault; of a longer one only the place is said."""

MOST_NAMED: Final = 16
"""Steps of a path that are named, the last ones."""

NEAR: Final = 20
"""Characters that are quoted of what is around a fault."""

_ESCAPES: Final = re.compile(
    r"((?:\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u(?![dD][89a-fA-F][0-9a-fA-F]{2})|[^u])[^\\]*+)++)"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
"""Whole escapes with what is between them, in one match since there may be millions; or half of a surrogate pair."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HALF: Final = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")
_NO_NUMBER: Final = re.compile(r"[-+]?(nan|inf)", re.IGNORECASE)
_FOREIGN: Final = re.compile(r"(True|False|None|undefined)\b")
_SPACE: Final = " \t\r\n"
_WORDS: Final = {"True": "true", "False": "false", "None": "null", "undefined": "null"}


class Constant(NamedTuple):
    """NaN or an infinity, where JSON has a value."""

    name: str


class NotANumberError(UndecodableError):
    """A body that is JSON but for NaN or infinities.

    Attributes
    ----------
    value
        What it says, with a `Constant` in their places.
    """

    def __init__(self, place: str, name: str, value: Any) -> None:
        super().__init__(
            f"{place}: expected a number, or null if missing, got {name}, which JSON does not have; send null",
            field=place,
            expected="a number, or null if missing",
            received=name,
        )
        self.value = value


def read_malformed(body: bytes | bytearray | memoryview) -> tuple[Any, bytes]:
    """Read what orjson refused.

    Returns
    -------
    value
        What it says.
    plain : bytes
        The same as JSON that orjson takes.

    Raises
    ------
    NotANumberError
        If it has NaN or infinities, and nothing else is wrong.
    UndecodableError
        If it cannot be read.
    """
    text = _ESCAPES.sub(_repair, _text(bytes(body)))
    plain = text.encode()
    try:
        return orjson.loads(plain), plain
    except orjson.JSONDecodeError as error:
        _explain(text, error)


def find_repeated_name(body: bytes | bytearray) -> str | None:
    """Return the first name that an object of the body has twice; the body is JSON."""
    found: list[str] = []

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = dict(pairs)
        if len(names) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            found.append(next(name for name, count in counts.items() if count > 1))
        return names

    json.loads(body, object_pairs_hook=check)
    return found[0] if found else None


def find_constant(value: Any) -> tuple[str, str] | None:
    """Return where in a JSON value the first `Constant` is, as a path, and its name."""
    path: list[int | str] = []
    open_ones = [iter([(0, value)])]  # depth first; nothing is made for what does not lead to the fault
    while open_ones:
        for key, one in open_ones[-1]:
            if type(one) is Constant:
                return _phrase([*path[1:], key] if path else []), one.name
            if one and type(one) in (dict, list):
                path.append(key)
                open_ones.append(iter(one.items() if type(one) is dict else enumerate(one)))
                break
        else:
            open_ones.pop()
            del path[-1:]
    return None


def _phrase(path: Sequence[int | str]) -> str:
    written = "".join(f"[{key}]" if type(key) is int else f".{key[:64]}" for key in path[-MOST_NAMED:])  # type: ignore[index]
    return written.removeprefix(".") or "body"


def _text(body: bytes) -> str:
    """Decode a body by its byte order mark, else as UTF-8."""
    encoding, start = next(((name, len(mark)) for mark, name in MARKS if body.startswith(mark)), ("utf-8", 0))
    try:
        text = body[start:].decode(encoding, "surrogatepass")
    except UnicodeDecodeError as error:
        at = start + error.start
        wide = encoding == "utf-8" and b"\0" in body[:4]
        said = f"the body is not {encoding.upper()}: byte 0x{body[at]:02x} at position {at}"
        hint = " (is it UTF-16?)" if wide else " (is it Latin-1?)" if body[at] >= 0xA0 else ""
        raise UndecodableError(f"{said}{hint}; send a JSON object in UTF-8") from None
    if _SURROGATE.search(text):  # encoded one by one: halves become U+FFFD, pairs their letter
        whole = _HALF.sub("\N{REPLACEMENT CHARACTER}", text)
        text = whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    return text


def _repair(escapes: re.Match[str]) -> str:
    return escapes[1] or "\N{REPLACEMENT CHARACTER}"


def _explain(text: str, refused: orjson.JSONDecodeError) -> NoReturn:
    """Say what is wrong with a text that is no JSON."""
    at, why = refused.pos, str(refused.msg)
    if len(text) <= MOST_SEARCHED:
        try:
            value = json.loads(text, parse_constant=Constant)
        except json.JSONDecodeError as error:
            at = error.pos
        except (RecursionError, ValueError):  # too deep, or a number of thousands of digits
            pass
        else:
            if found := find_constant(value):
                raise NotANumberError(*found, value) from None
    hint = _hint(text, at, why) or why
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    near = text[max(0, at - NEAR // 2) : at + NEAR // 2]
    raise UndecodableError(
        f"the body is not JSON: {hint}, at line {line} column {column} near {near!r}; send a JSON object in UTF-8"
    ) from None


def _hint(text: str, at: int, why: str) -> str:
    """Name the usual faults by what stands at the place, and before it; an empty text is none of those."""
    if "control character" in why:
        return "a string holds a line break or another control character; write it as an escape such as \\n"
    rest, before = text[at : at + 64].lstrip(_SPACE), text[max(0, at - 64) : at].rstrip(_SPACE)
    if not rest:
        return "it ends too early; was it cut short, or is a bracket not closed?"
    if "\0" in text[:4]:
        return "it seems to be UTF-16 without a byte order mark"
    if rest.startswith("'"):
        return "names and strings stand in double quotes"
    if rest.startswith(("//", "/*", "#")):
        return "JSON has no comments; take them out"
    if before.endswith(",") and rest[0] in "}]":
        return "a comma stands before a closing bracket; take it out"
    if rest.startswith(",") and rest[1:].lstrip(_SPACE)[:1] in ("}", "]"):
        return "a comma stands before a closing bracket; take it out"
    if _NO_NUMBER.match(rest) or _NO_NUMBER.match(text[max(0, at - 1) : at + 3]):
        return "JSON has no NaN and no infinities; send null for what is missing"
    if word := _FOREIGN.match(rest):
        return f"write {_WORDS[word[1]]} in place of {word[1]}"
    if before.endswith(("}", "]")) and rest[0] in "{[":
        return 'more follows after its end; many instances are sent as {"instances": [...]}'
    return ""
