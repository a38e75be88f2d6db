"""Logs that stay small: what has grown too large is moved aside, and what was aside before goes.

TorchServe rolls its own two (deploy/torchserve/log4j2.xml). The access log is moved aside as often as it grows, since
the collector counts what is in it and deletes it then.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

LARGEST_ACCESS_LOG_BYTES = 100 * 1024 * 1024
LARGEST_BYTES = 10 * 1024 * 1024
GATEWAYS = ("management.jsonl", "gateway.error.log")
CONSOLES = ("gateway.console.log", "torchserve.console.log")
PAUSE_S = 1.0


class Logs:
    """The logs in one folder.

    Parameters
    ----------
    folder
        Where they are.
    consoles
        Names of those that child processes have for their output, opened to append.
    reopen
        Makes the gateway reopen its logs.
    """

    def __init__(self, folder: Path, consoles: Sequence[str], reopen: Callable[[], None]) -> None:
        self._folder = folder
        self._consoles = consoles
        self._reopen = reopen
        self._looked_at = 0.0

    def rotate(self) -> None:
        """Move aside what is too large; looks once a second."""
        now = time.monotonic()
        if now - self._looked_at < PAUSE_S:
            return
        self._looked_at = now
        moved = [self._move("access.jsonl", f"access.{time.time_ns()}.jsonl", LARGEST_ACCESS_LOG_BYTES)]
        moved += [self._move(name, f"{name}.1", LARGEST_BYTES) for name in GATEWAYS]
        if any(moved):
            self._reopen()
        for name in self._consoles:
            self._copy(name)

    def _move(self, name: str, aside: str, largest: int) -> bool:
        path = self._folder / name
        with contextlib.suppress(OSError):  # not there yet, or no room for a name; it is looked at again
            if path.stat().st_size > largest:
                path.replace(self._folder / aside)
                return True
        return False

    def _copy(self, name: str) -> None:
        """Empty a file that its writer keeps open."""
        path, aside = self._folder / name, self._folder / f"{name}.1"
        with contextlib.suppress(OSError):
            if path.stat().st_size <= LARGEST_BYTES:
                return
            try:
                shutil.copyfile(path, aside)
            except OSError:  # a full disk: better no log than none of the rest
                aside.unlink(missing_ok=True)
            with path.open("r+b") as file:
                file.truncate(0)
