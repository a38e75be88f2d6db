"""Lines of a file that others append to, from a position on."""

from dataclasses import dataclass
from typing import BinaryIO

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Lines:
    """Complete lines, without their ends, and the position after the last of them; `full` if there may be more."""

    lines: list[bytes]
    position: int
    full: bool


def read_lines(file: BinaryIO, position: int, at_most: int = CHUNK_BYTES, last: bool = False) -> Lines:
    """Read what follows a position, up to the last line that is complete.

    Parameters
    ----------
    at_most
        Bytes to read; more only where a single line is longer.
    last
        Whether the writer has ended: then what follows the last end of line is a line too.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    file.seek(position)
    data = file.read(at_most)
    while len(data) >= at_most and b"\n" not in data and (more := file.read(at_most)):
        data += more
    full = len(data) >= at_most
    at_end = last and not file.read(1)
    if not at_end:
        data = data[: data.rfind(b"\n") + 1]
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return Lines(lines, position + len(data), full)
