"""The first cache: in the process, bounded by bytes, the least recently used entry goes first."""

import time
from collections import OrderedDict
from collections.abc import Callable

OVERHEAD_BYTES = 200
"""What an entry costs beside its key and value."""


class MemoryLevel:
    """Keeps answers for a while.

    Parameters
    ----------
    limit_bytes
        How much it holds, overhead included.
    monotonic
        A clock that is never set, in seconds.
    """

    def __init__(self, limit_bytes: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit_bytes
        self._monotonic = monotonic
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self.bytes = 0
        """How much is held."""
        self.evicted = 0
        """Entries that made room for others."""

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> bytes | None:
        """Return what is kept under a key; None where nothing is, or it is too old."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found[0] <= self._monotonic():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return found[1]

    def left_s(self, key: str) -> float:
        """Return how much longer a value is kept, in seconds; 0 where nothing is."""
        found = self._kept.get(key)
        return max(0.0, found[0] - self._monotonic()) if found is not None else 0.0

    def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for so long; one larger than an eighth of the room is not kept."""
        size = _size(key, value)
        if size > self._limit // 8:
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = self._monotonic() + ttl_s, value
        self.bytes += size
        while self.bytes > self._limit:
            self._drop(next(iter(self._kept)))
            self.evicted += 1

    def _drop(self, key: str) -> None:
        _, value = self._kept.pop(key)
        self.bytes -= _size(key, value)


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + OVERHEAD_BYTES
