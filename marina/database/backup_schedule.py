"""Starts the backups of this host once a day, as processes at the lowest priority.

There are two: the copy of an SQLite database beside it, and the backup of the whole installation to
MARINA_BACKUP_DESTINATION, where that is set.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from marina.database.backup import EVERY_S, due, file_of
from marina.processes.children import end_with_parent
from marina.settings import ROOT, Settings

AGAIN_S = 3600.0  # after a failure
LOOK_S = 60.0
MARKER = "backup.last"
"""File in the state folder whose time is when the last backup of the whole installation succeeded."""


class _Daily:
    """Starts one command where it is due, one at a time."""

    def __init__(self, command: list[str], due: Callable[[], bool]) -> None:
        self._command = [sys.executable, *command]
        self._due = due
        self._process: subprocess.Popen[bytes] | None = None
        self._at = time.monotonic() + LOOK_S  # what starts has other things to do

    def follow(self) -> None:
        if time.monotonic() < self._at:
            return
        self._at = time.monotonic() + LOOK_S
        if self._process is not None:
            if self._process.poll() is None:
                return
            failed, self._process = self._process.returncode != 0, None
            if failed:
                self._at = time.monotonic() + AGAIN_S
                return
        if self._due():
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - the first thread, which lives longest
            )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Nightly:
    """Keeps the copy of the database, and the backup of all, no older than a day."""

    def __init__(self, settings: Settings) -> None:
        self._commands = []
        file = file_of(settings)
        if file is not None:
            self._commands.append(
                _Daily(["-m", "marina.database.backup"], lambda: file.exists() and due(file, time.time()))
            )
        if settings.backup_destination:
            marker = settings.state_dir / MARKER
            self._commands.append(_Daily(["scripts/backup.py", "run"], lambda: _is_old(marker, time.time())))

    def follow(self) -> None:
        """Start a backup where one is due, one of each kind at a time; returns at once."""
        for one in self._commands:
            one.follow()

    def stop(self) -> None:
        """End them; what was copied last stays."""
        for one in self._commands:
            one.stop()


def _is_old(marker: Path, now: float) -> bool:
    try:
        return abs(now - marker.stat().st_mtime) >= EVERY_S
    except FileNotFoundError:
        return True
