"""Files that are as they were before or as they are after, never in between."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: str | bytes | Callable[[BinaryIO], object], *, durable: bool = False) -> None:
    """Replace a file, completely or not at all.

    Parameters
    ----------
    path
        The file; its folder exists.
    content
        Its contents, text in UTF-8, or a function that writes them.
    durable
        Whether it must outlive a power cut: it is on the disk on return, which takes its time.

    Raises
    ------
    OSError
        When that cannot be done; what was there stays.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
