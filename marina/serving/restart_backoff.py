"""When a process that ended is started again: at once the first time, then after growing pauses."""

import signal
import subprocess
import time

SETTLED_S = 60.0  # a process that lived this long starts its pauses again from the first
PAUSES_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)


class Restarts:
    """Keeps the times of one process."""

    def __init__(self) -> None:
        self.started = 0.0
        self.ends = 0
        self._due = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to start."""
        return time.monotonic() >= self._due

    @property
    def noted(self) -> bool:
        """Whether the last end has been noted."""
        return self._due > self.started

    def start(self) -> None:
        """Note that it has been started."""
        self.started = time.monotonic()

    def end(self) -> str:
        """Note that it has ended; return the pause as text, for the log."""
        now = time.monotonic()
        self.ends = 0 if now - self.started > SETTLED_S else self.ends + 1
        pause_s = PAUSES_S[min(self.ends, len(PAUSES_S) - 1)]
        self._due = now + pause_s
        return f" in {pause_s:g} s" if pause_s else ""


def ending(process: subprocess.Popen[bytes]) -> str:
    """Say how a process ended."""
    code = process.returncode
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
