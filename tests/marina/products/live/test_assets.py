"""The browser's landmark models: a changed tarball is refused, and metadata changes nothing that a model computes."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from marina.products.live.assets import VISION, AssetError, make_task, read_tarball
from marina.products.live.flatbuffers import Scalar, TableError, Writer, pixel_scaling, with_metadata


def tiny() -> bytes:
    """Return what is laid out as a model: version 3, one code, one graph, a description, two buffers."""
    buffers: list[Any] = [{}, {0: bytes(range(64))}]
    fields = {0: Scalar("I", 3), 1: [{0: Scalar("B", 9)}], 2: [{}], 3: b"a description", 4: buffers}
    return Writer().write(fields, b"TFL3")


class Reader:
    """Follows offsets, as FlatBuffers' own generated code does."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def offset(self, at: int) -> int:
        return at + int(struct.unpack_from("<I", self.content, at)[0])

    def field(self, table: int, slot: int) -> int:
        vtable = table - struct.unpack_from("<i", self.content, table)[0]
        if 4 + 2 * slot >= struct.unpack_from("<H", self.content, vtable)[0]:
            return 0
        offset = int(struct.unpack_from("<H", self.content, vtable + 4 + 2 * slot)[0])
        return table + offset if offset else 0

    def items(self, at: int) -> list[int]:
        start = self.offset(at)
        count = struct.unpack_from("<I", self.content, start)[0]
        return [self.offset(start + 4 + 4 * index) for index in range(count)]

    def text(self, at: int) -> bytes:
        start = self.offset(at)
        return self.content[start + 4 : start + 4 + struct.unpack_from("<I", self.content, start)[0]]


def test_metadata_is_added_and_everything_else_is_found_as_before() -> None:
    once = with_metadata(tiny(), b"FIRST", b"one")
    read = Reader(with_metadata(once, b"TFLITE_METADATA", pixel_scaling(127.5, 127.5)))
    root = read.offset(0)
    assert read.content[4:8] == b"TFL3" and read.text(read.field(root, 3)) == b"a description"
    buffers, entries = read.items(read.field(root, 4)), read.items(read.field(root, 6))
    assert len(buffers) == 4 and read.field(buffers[0], 0) == 0
    assert read.text(read.field(buffers[1], 0)) == bytes(range(64))
    named = {
        read.text(read.field(entry, 0)): struct.unpack_from("<I", read.content, read.field(entry, 1))[0]
        for entry in entries
    }
    assert named == {b"FIRST": 2, b"TFLITE_METADATA": 3}
    assert read.text(read.field(buffers[2], 0)) == b"one"
    assert read.text(read.field(buffers[3], 0)) == pixel_scaling(127.5, 127.5)


def test_the_scaling_of_pixels_is_read_where_mediapipe_reads_it() -> None:
    """ModelMetadata.subgraph_metadata[0].input_tensor_metadata[0].process_units[0].options (NormalizationOptions)."""
    read = Reader(pixel_scaling(0, 255))
    graph = read.items(read.field(read.offset(0), 3))[0]
    tensor = read.items(read.field(graph, 2))[0]
    unit = read.items(read.field(tensor, 4))[0]
    assert read.content[read.field(unit, 0)] == 1
    options = read.offset(read.field(unit, 1))
    numbers = [struct.unpack_from("<f", read.content, read.offset(read.field(options, slot)) + 4)[0] for slot in (0, 1)]
    content = read.offset(read.field(tensor, 3))
    image = read.offset(read.field(content, 1))
    assert numbers == [0, 255] and read.content[read.field(content, 0)] == 2 and read.content[read.field(image, 0)] == 1


@pytest.mark.parametrize("content", [b"", b"GIF89a..", tiny()[:20]])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(TableError):
        with_metadata(content, b"NAME", b"")


def test_another_tarball_than_the_one_that_was_examined_is_refused() -> None:
    with pytest.raises(AssetError, match="do not use it"):
        read_tarball(b"something else", VISION)


def test_a_missing_model_is_named() -> None:
    with pytest.raises(AssetError, match=r"has no face_detection_short_range\.tflite"):
        make_task({})
