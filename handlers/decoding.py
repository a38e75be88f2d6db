"""Bytes to fields: the content types a handler reads, decoded without trusting them.

Nothing here unpickles: a `.npy` body is read by its header and its exact length, and a header that announces
Python objects is refused before a byte of its data is looked at.
"""

import math
import re
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from handlers.errors import ContentTypeError, InvalidError, UndecodableError
from handlers.malformed_json import Constant, find_repeated_name, read_malformed

JSON = "application/json"
NPY = "application/x-npy"
NPY_MAGIC = b"\x93NUMPY"
NPY_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[^']{1,16})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>[0-9, ]*)\),? ?\}\s*"
)
"""The header as every writer of the format writes it; numpy's own reader would evaluate it as a Python literal."""
MAX_NPY_HEADER = 4096
MAX_NPY_AXES, MAX_NPY_DIGITS = 4, 12
NPY_ELEMENTS: dict[bytes, np.dtype[np.floating[Any]]] = {b"<f4": np.dtype("<f4"), b"<f8": np.dtype("<f8")}
"""What is read, as every writer on a little-endian machine names it."""

Body = bytes | bytearray | memoryview


def media_type(header: str) -> str:
    """Return a Content-Type header without its parameters, in lower case."""
    return header.partition(";")[0].strip().lower()


def decode_json(body: Body) -> tuple[dict[str, Any], Body]:
    """Decode a JSON object.

    Returns
    -------
    fields
        What it says.
    body
        The same as plain JSON in UTF-8: as it came, but for what `handlers.malformed_json` repairs.

    Raises
    ------
    UndecodableError
        If the body is empty, is not JSON, or has a name twice in one object.
    InvalidError
        If it is JSON, but not an object.
    """
    if not len(body):
        raise UndecodableError("the body is empty: send a JSON object")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value, body = read_malformed(body)
    if not isinstance(value, dict):
        raise InvalidError("body", "a JSON object", describe(value))
    _check_names(value, body)
    return value, body


def _check_names(value: dict[str, Any], body: Body) -> None:
    """Refuse an object that has a name twice, of which orjson keeps the last.

    Costs a count of the names: where no more colons follow quotes, with a space between or none, than there are names,
    none is taken to be there twice.
    """
    whole = bytes(body) if isinstance(body, memoryview) else body
    if whole.count(b":") <= len(value):  # one byte is counted many times as fast as two
        return
    colons = whole.count(b'":') + whole.count(b'" :')
    flat = len(value) + sum(len(one) for one in value.values() if type(one) is dict)  # nearly all there are
    if colons <= flat or colons <= _count_names(value):
        return
    if (name := find_repeated_name(whole)) is not None:
        shown = name[:64]
        raise UndecodableError(f"the name {shown!r} is there twice in one object; send each name once", field=shown)


def _count_names(value: dict[str, Any]) -> int:
    """Count the names of all objects; too few where an array mixes objects with others."""
    count, waiting = 0, list[Any]([value])
    for one in waiting:  # which grows meanwhile
        if type(one) is dict:
            count += len(one)
            waiting += [more for more in one.values() if type(more) in (dict, list)]
        elif type(one) is list and one and type(one[0]) in (dict, list):
            waiting += one
    return count


def decode_npy(body: Body) -> NDArray[np.floating[Any]]:
    """Decode one numeric array from the .npy format (versions 1 to 3), as a read-only view of the body.

    Raises
    ------
    UndecodableError
        If the header is damaged, announces objects, or disagrees with the length of the data.
    InvalidError
        If the elements are not float32 or float64.
    """
    view = memoryview(body)
    if bytes(view[:6]) != NPY_MAGIC or len(view) < 12 or view[6] not in (1, 2, 3):
        raise UndecodableError("the body is not a .npy array of version 1, 2 or 3; write it with numpy.save")
    wide = view[6] > 1  # version 1 gives the header's length in two bytes, later ones in four
    start = 12 if wide else 10
    size = int.from_bytes(view[8:start], "little")
    header = NPY_HEADER.fullmatch(view[start : start + size]) if size <= MAX_NPY_HEADER else None
    if header is None:
        raise UndecodableError("the .npy header does not describe a plain array; write it with numpy.save")
    if b"O" in header["dtype"]:
        raise UndecodableError("the .npy header announces Python objects, which are never loaded; send float32")
    if (dtype := NPY_ELEMENTS.get(header["dtype"])) is None:
        raise InvalidError(
            "body", "a float32 or float64 array, little-endian", f"dtype {header['dtype'].decode('latin-1')!r}"
        )
    data = view[start + size :]
    sizes = header["shape"].replace(b",", b" ").split()
    if len(sizes) > MAX_NPY_AXES or max(map(len, sizes), default=0) > MAX_NPY_DIGITS:
        raise UndecodableError(
            f"the .npy header announces a shape of {len(sizes)} axes and numbers of {max(map(len, sizes))} digits; "
            f"send at most {MAX_NPY_AXES} axes"
        )
    shape = tuple(map(int, sizes))
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise UndecodableError(f"the .npy header announces {expected} bytes of data, the body holds {len(data)}")
    try:
        return np.frombuffer(data, dtype).reshape(shape, order="F" if header["fortran"] == b"True" else "C")
    except (ValueError, OverflowError):  # no data, along axes that together exceed any address
        raise UndecodableError(
            "the .npy header announces a shape that no array has; write it with numpy.save"
        ) from None


def unsupported(header: str, supported: tuple[str, ...]) -> ContentTypeError:
    """Return the error for a content type that is not supported."""
    came = repr(header) if header else "none"
    return ContentTypeError(
        f"content type {came} is not read here; send Content-Type: {' or '.join(supported)}",
        field="Content-Type",
        expected=" or ".join(supported),
        received=came,
    )


def describe(value: Any) -> str:
    """Say in a few words what a decoded value is, without repeating much of it."""
    if value is None:
        return "null"
    if isinstance(value, Constant):
        return f"{value.name}, which JSON does not have (send null)"
    if isinstance(value, bool | int | float):
        return f"{value!r:.40}"
    if isinstance(value, str):
        return f"the string {value[:40]!r}" + ("…" if len(value) > 40 else "")
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, dict):
        return f"an object with {len(value)} fields"
    return type(value).__name__


def integer(fields: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    """Take an optional integer field within bounds.

    Raises
    ------
    InvalidError
        If it is there and is anything else.
    """
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidError(name, f"an integer from {low} to {high}", describe(value))
    return value
