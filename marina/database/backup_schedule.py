"""Starts the backup of this host's SQLite database once a day, as a process at the lowest priority."""

import signal
import subprocess
import sys
import time

from marina.database.backup import due, file_of
from marina.processes.children import end_with_parent
from marina.settings import ROOT, Settings

AGAIN_S = 3600.0  # after a failure
LOOK_S = 60.0


class Nightly:
    """Keeps the copy of the database no older than a day."""

    def __init__(self, settings: Settings) -> None:
        self._file = file_of(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._at = time.monotonic() + LOOK_S  # what starts has other things to do

    def follow(self) -> None:
        """Start a backup where one is due, one at a time; returns at once."""
        if self._file is None or time.monotonic() < self._at:
            return
        self._at = time.monotonic() + LOOK_S
        if self._process is not None:
            if self._process.poll() is None:
                return
            failed, self._process = self._process.returncode != 0, None
            if failed:
                self._at = time.monotonic() + AGAIN_S
                return
        if self._file.exists() and due(self._file, time.time()):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "marina.database.backup"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - the first thread, which lives longest
            )

    def stop(self) -> None:
        """End it; the last copy stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
