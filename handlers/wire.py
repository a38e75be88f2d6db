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

JSON = "application/json"
NPY = "application/x-npy"
NPY_MAGIC = b"\x93NUMPY"
NPY_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[^']{1,16})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>[0-9, ]*)\),? ?\}\s*"
)
"""The header as every writer of the format writes it; numpy's own reader would evaluate it as a Python literal."""
MAX_NPY_HEADER = 4096

Body = bytes | bytearray | memoryview


def media_type(header: str) -> str:
    """Return a Content-Type header without its parameters, in lower case."""
    return header.partition(";")[0].strip().lower()


def decode_json(body: Body) -> dict[str, Any]:
    """Decode a JSON object.

    Raises
    ------
    UndecodableError
        If the body is empty, is not UTF-8, or is not JSON.
    InvalidError
        If it is JSON, but not an object.
    """
    if not len(body):
        raise UndecodableError("the body is empty: send a JSON object")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UndecodableError(f"the body is not JSON: {error}; send a JSON object in UTF-8") from None
    if not isinstance(value, dict):
        raise InvalidError("body", "a JSON object", describe(value))
    return value


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
    try:
        dtype, shape = np.dtype(header["dtype"].decode()), tuple(map(int, header["shape"].replace(b",", b" ").split()))
    except (TypeError, ValueError, SyntaxError) as error:
        raise UndecodableError(f"the .npy header does not describe a plain array: {error}") from None
    if dtype.hasobject:
        raise UndecodableError("the .npy header announces Python objects, which are never loaded; send float32")
    if dtype not in (np.float32, np.float64):
        raise InvalidError("body", "a float32 or float64 array", f"dtype {dtype}")
    data = view[start + size :]
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise UndecodableError(f"the .npy header announces {expected} bytes of data, the body holds {len(data)}")
    fortran = header["fortran"] == b"True"
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def unsupported(header: str, supported: tuple[str, ...]) -> ContentTypeError:
    """Return the error for a content type nobody here reads."""
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
