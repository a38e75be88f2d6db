"""A disk that a test may fill."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Mount a disk of so many megabytes; the test is skipped where that is not allowed."""
    with tempfile.TemporaryDirectory(prefix="md-", dir="/tmp") as folder:  # a short path: sockets may live in it
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "marina-test", folder]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"a full disk needs a disk of its own, and this user may not mount one: {mounted.stderr}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Fill a disk to the last byte; return the file that does."""
    place = folder / "filling"
    with place.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\1" * size)
    return place
