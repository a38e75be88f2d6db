"""What a worker logs of requests that fail: some whole, of the rest how many, so that no client fills a disk."""

import logging
import time

AT_ONCE, PER_S = 5, 0.1
"""Failures that are logged with where they came from: at once, and a second."""


class Complaints:
    """One worker's; call `log` where an exception is being handled."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._room, self._looked = float(AT_ONCE), time.monotonic()
        self._left_out = 0

    def log(self, what: str) -> None:
        """Log the exception that is being handled, unless there were many of late."""
        now = time.monotonic()
        self._room = min(AT_ONCE, self._room + PER_S * (now - self._looked))
        self._looked = now
        if self._room < 1:
            self._left_out += 1
            return
        self._room -= 1
        others = f" ({self._left_out} before it are not shown)" if self._left_out else ""
        self._left_out = 0
        self._logger.exception("%s%s", what, others)
