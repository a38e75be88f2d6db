"""As much of FlatBuffers as MediaPipe's models need: one more piece of metadata in a TensorFlow Lite file.

A FlatBuffer's tables are found by forward offsets, each relative to its own place. So what is there stays valid when it
is moved as a whole: `with_metadata` writes a new root before the old bytes, whose lists name the old tables and one
more. The format is described at https://flatbuffers.dev/internals, the schemas are TensorFlow Lite's schema.fbs and
tflite-support's metadata_schema.fbs.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archives.errors import MarinaError

_MODEL_BUFFERS, _MODEL_METADATA = 4, 6
_ALIGNED = 16


class TableError(MarinaError):
    """Bytes are no model of TensorFlow Lite."""


@dataclass(frozen=True)
class Old:
    """What lies in the old bytes, at that place."""

    at: int


@dataclass(frozen=True)
class Scalar:
    """A number in a table, as `struct` packs it."""

    format: str
    value: int


class Writer:
    """Writes tables, lists and strings, what names another before it; then comes what was there.

    A table is a mapping from the number of a field to what is in it; a list of floats is a list of numbers, any other
    list one of offsets.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._old: list[tuple[int, int]] = []

    def write(self, root: Mapping[int, Any], identifier: bytes, old: bytes = b"") -> bytes:
        """Return a whole FlatBuffer."""
        self._bytes += struct.pack("<I4s", 0, identifier)
        struct.pack_into("<I", self._bytes, 0, self._put(root))
        self._bytes += b"\0" * (-len(self._bytes) % _ALIGNED)
        for place, at in self._old:
            struct.pack_into("<I", self._bytes, place, len(self._bytes) + at - place)
        return bytes(self._bytes) + old

    def _put(self, value: Any) -> int:
        if isinstance(value, Mapping):
            return self._table(value)
        if isinstance(value, bytes):
            place = self._align(_ALIGNED - 4, _ALIGNED)
            self._bytes += struct.pack("<I", len(value)) + value + b"\0"
            return place
        place = self._align(0, 4)
        self._bytes += struct.pack("<I", len(value))
        if value and isinstance(value[0], float):
            self._bytes += struct.pack(f"<{len(value)}f", *value)
            return place
        self._bytes += bytes(4 * len(value))
        for index, one in enumerate(value):
            self._name(place + 4 + 4 * index, one)
        return place

    def _table(self, fields: Mapping[int, Any]) -> int:
        slots = max(fields, default=-1) + 1
        vtable = self._align(0, 4)
        size = 4 + 4 * len(fields)
        self._bytes += struct.pack("<HH", 4 + 2 * slots, size) + bytes(2 * slots)
        place = self._align(0, 4)
        self._bytes += struct.pack("<i", place - vtable) + bytes(4 * len(fields))
        for index, (slot, value) in enumerate(sorted(fields.items())):
            struct.pack_into("<H", self._bytes, vtable + 4 + 2 * slot, 4 + 4 * index)
            where = place + 4 + 4 * index
            if isinstance(value, Scalar):
                struct.pack_into(f"<{value.format}", self._bytes, where, value.value)
            else:
                self._name(where, value)
        return place

    def _name(self, place: int, value: Any) -> None:
        if isinstance(value, Old):
            self._old.append((place, value.at))
        else:
            at = self._put(value)
            struct.pack_into("<I", self._bytes, place, at - place)

    def _align(self, rest: int, to: int) -> int:
        self._bytes += b"\0" * ((rest - len(self._bytes)) % to)
        return len(self._bytes)


def _fields(model: bytes) -> tuple[int, list[int]]:
    """Return where the root table is, and where each of its fields is; 0 for one that is absent."""
    if model[4:8] != b"TFL3":
        raise TableError(f"expected a model of TensorFlow Lite (TFL3), got {model[4:8]!r}")
    root = struct.unpack_from("<I", model, 0)[0]
    vtable = root - struct.unpack_from("<i", model, root)[0]
    size = struct.unpack_from("<H", model, vtable)[0]
    offsets = struct.unpack_from(f"<{(size - 4) // 2}H", model, vtable + 4)
    return root, [root + offset if offset else 0 for offset in offsets]


def _list(model: bytes, place: int) -> list[Old]:
    """Return the tables of the list that a field names."""
    start = place + struct.unpack_from("<I", model, place)[0]
    count = struct.unpack_from("<I", model, start)[0]
    places = [start + 4 + 4 * index for index in range(count)]
    return [Old(at + struct.unpack_from("<I", model, at)[0]) for at in places]


def with_metadata(model: bytes, name: bytes, metadata: bytes) -> bytes:
    """Return a TensorFlow Lite model with one more entry of metadata.

    Raises
    ------
    TableError
        If the bytes are no such model.
    """
    try:
        _, places = _fields(model)
        fields: dict[int, Any] = {0: Scalar("I", struct.unpack_from("<I", model, places[0])[0])}
        for slot, place in enumerate(places[1:], 1):
            if place:
                fields[slot] = Old(place + struct.unpack_from("<I", model, place)[0])
        buffers: Sequence[Any] = _list(model, places[_MODEL_BUFFERS])
        there = (
            _list(model, places[_MODEL_METADATA]) if len(places) > _MODEL_METADATA and places[_MODEL_METADATA] else []
        )
    except (struct.error, IndexError) as error:
        raise TableError(f"a model of TensorFlow Lite ends early: {error}") from error
    fields[_MODEL_BUFFERS] = [*buffers, {0: metadata}]
    fields[_MODEL_METADATA] = [*there, {0: name, 1: Scalar("I", len(buffers))}]
    return Writer().write(fields, b"TFL3", model)


def pixel_scaling(mean: float, deviation: float) -> bytes:
    """Return the metadata of an image model: pixels are RGB, less `mean`, divided by `deviation`."""
    rgb, image, normalise = 1, 2, 1
    unit = {0: Scalar("B", normalise), 1: {0: [float(mean)], 1: [float(deviation)]}}
    content = {0: Scalar("B", image), 1: {0: Scalar("B", rgb)}}
    tensor = {0: b"image", 3: content, 4: [unit]}
    return Writer().write({0: b"model", 3: [{2: [tensor]}]}, b"M001")
