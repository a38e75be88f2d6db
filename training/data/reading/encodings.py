"""From a file's bytes to its text: unpacked by what the first bytes are, decoded by what all of them can be."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.data.quality import BadDataError, Fault

KINDS: Final = (".csv", ".tsv", ".txt", ".parquet")
PACKINGS: Final = ("", ".gz", ".bz2", ".xz", ".zst", ".zip")
SUFFIXES: Final = tuple(kind + packing for kind in KINDS for packing in PACKINGS)
"""Endings of the tables in a folder; a file that is named itself may have any."""

_NO_TABLE: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"SQLite format 3", "a SQLite database"),
)


@dataclass(frozen=True)
class Opened:
    """A file's content.

    Attributes
    ----------
    content
        The bytes, unpacked; of a parquet file they are what is read.
    text
        The decoded text without a byte order mark; None of a parquet file. A byte that belongs to no character is a
        lone surrogate (`bytes.decode`, "surrogateescape").
    description
        How it was packed and encoded, such as "gzip, cp1252".
    """

    content: bytes
    text: str | None
    description: str


def is_table(name: str) -> bool:
    """Return whether a file is a table by its name."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """Return the name of a table without its endings, such as ``candles`` of ``candles.csv.gz``."""
    ending = next((one for one in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)]


def find_tables(path: Path) -> list[Path]:
    """Return the tables meant by a path: the file itself, or those in the folder, sorted.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = sorted(one for one in path.iterdir() if one.is_file() and is_table(one.name)) if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise FileNotFoundError(
            f"expected a table ({', '.join(KINDS)}, also packed as {', '.join(PACKINGS[1:])}) or a folder of them at "
            f"{path}; there is none"
        )
    return found


def open_table(path: Path) -> Opened:
    """Open a file.

    Raises
    ------
    training.data.quality.BadDataError
        If it cannot be unpacked or decoded, or is no table.
    FileNotFoundError
        If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a table at {path}; there is no such file")
    try:
        content, packing = _unpacked(path.read_bytes())
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise _unreadable(path, f"expected a whole file, got: {error or type(error).__name__}") from None
    if found := next((kind for magic, kind in _NO_TABLE if content.startswith(magic)), None):
        raise _unreadable(path, f"expected a table as text or parquet, got {found}: export the table as CSV")
    if content.startswith(b"PAR1"):
        return Opened(content, None, ", ".join([*packing, "parquet"]))
    text, encoding = decode(content)
    start = text.lstrip()[:200].lower()
    if start.startswith(("<!doctype", "<html", "<table", "<?xml")):
        raise _unreadable(path, "expected a table as text or parquet, got a page of HTML or XML: export it as CSV")
    if re.match(r"[\[{]\s*[\[{\"\]}]", start):  # a bracket alone may begin a line of a bank's
        raise _unreadable(path, "expected a table as text or parquet, got JSON: write it as CSV")
    if not start:
        raise _unreadable(path, "expected a table, got an empty file")
    return Opened(content, text, ", ".join([*packing, encoding]))


def decode(content: bytes) -> tuple[str, str]:
    """Decode a text; return it with the name of its encoding.

    Tried in order: byte order marks, UTF-16 without one (every other byte is zero), UTF-8, cp1252. Where only some
    bytes are no UTF-8 the text is UTF-8 that was damaged: reading all of it as cp1252 would garble every accent.
    """
    for mark, name, encoding in (
        (b"\xef\xbb\xbf", "UTF-8 with a byte order mark", "utf-8"),
        (b"\xff\xfe", "UTF-16 LE", "utf-16-le"),
        (b"\xfe\xff", "UTF-16 BE", "utf-16-be"),
    ):
        if content.startswith(mark):
            return _decoded(content[len(mark) :], encoding), name
    head = content[:4096]
    for first, name, encoding in ((1, "UTF-16 LE", "utf-16-le"), (0, "UTF-16 BE", "utf-16-be")):
        if len(head) > 3 and head[first::2].count(0) > 0.4 * len(head[first::2]):
            return _decoded(content, encoding), f"{name} without a byte order mark"
    text = _decoded(content, "utf-8")
    stray = len(text) - len(text.encode("utf-8", "ignore").decode("utf-8"))
    if not stray:
        return text, "UTF-8"
    if len(text) - len(text.encode("ascii", "ignore")) > 2 * stray:
        return text, f"UTF-8 with {stray} stray bytes"
    return content.decode("cp1252", "surrogateescape"), "cp1252"


def _decoded(content: bytes, encoding: str) -> str:
    # UTF-16 has no "surrogateescape" for half a pair; what replaces it is refused like a stray byte.
    if encoding == "utf-8":
        return content.decode(encoding, "surrogateescape")
    return content.decode(encoding, "replace").replace("\ufffd", "\udcff")


def _unpacked(content: bytes) -> tuple[bytes, list[str]]:
    packing = []
    for magic, name, unpack in _UNPACKERS:
        if content.startswith(magic):
            content = unpack(content)
            packing.append(name)
    return content, packing


def _unzip(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
        if "[Content_Types].xml" in names:
            raise ValueError("an Excel workbook; export the table as CSV")
        if len(names) != 1:
            raise ValueError(f"a zip of {len(names)} files ({', '.join(names[:5])}); pack one table alone")
        return archive.read(names[0])


def _unpack_zstd(content: bytes) -> bytes:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
        unpacked: bytes = stream.read()
    return unpacked


_UNPACKERS: Final[tuple[tuple[bytes, str, Callable[[bytes], bytes]], ...]] = (
    (b"PK\x03\x04", "zip", _unzip),
    (b"\x1f\x8b", "gzip", gzip.decompress),
    (b"BZh", "bzip2", bz2.decompress),
    (b"\xfd7zXZ\x00", "xz", lzma.decompress),
    (b"\x28\xb5\x2f\xfd", "zstd", _unpack_zstd),
)


def _unreadable(path: Path, detail: str) -> BadDataError:
    return BadDataError([Fault(path.name, None, "unreadable file", detail)])
