"""Guesses at tokens, counted by address: past a number of wrong ones, right ones wait too."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW_S = 300.0
MOST_KEYS = 10_000
"""Addresses that are remembered; the least recent are forgotten first."""


class Attempts:
    """Counts of the last five minutes.

    Parameters
    ----------
    most
        Wrong tokens that one key may offer in that time.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, key: str) -> int:
        """Return how many seconds a key has to wait; 0 where it has not."""
        with self._lock:
            times = self._wrong.get(key)
            if times is None or len(times) < self._most:
                return 0
            left = times[0] + WINDOW_S - self._clock()
            return max(0, int(left) + 1) if left > 0 else 0

    def count(self, key: str) -> None:
        """Count a wrong token."""
        with self._lock:
            times = self._wrong.setdefault(key, deque(maxlen=self._most))
            times.append(self._clock())
            self._wrong.move_to_end(key)
            while len(self._wrong) > MOST_KEYS:
                self._wrong.popitem(last=False)
