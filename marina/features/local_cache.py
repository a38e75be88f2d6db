"""The cache in the process: packed vectors, bounded in bytes, the least recently used leave first.

It may only hold what someone will say is outdated: with Redis that is the connection that follows its invalidations,
and while there is none the cache is shut. Without Redis an entry holds for `longest_s`.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

Key = tuple[str, str]
"""View and entity."""

ENTRY_BYTES: Final = 420
"""What an entry takes beside its vector and its entity's name, at the most."""


class Unknown:
    """What the cache says of what it does not hold; None is an entity that has no vector."""


UNKNOWN: Final = Unknown()


class LocalCache:
    """Vectors by view and entity; may be used by several threads.

    Parameters
    ----------
    limit_bytes
        What all may take; 0: nothing is held.
    longest_s
        For how long; None: until it is dropped.
    """

    def __init__(self, limit_bytes: int, longest_s: float | None = None) -> None:
        self._limit, self._longest = limit_bytes, longest_s
        self._entries: OrderedDict[Key, tuple[bytes | None, float]] = OrderedDict()
        self._lock = threading.Lock()
        self._reads: list[set[Key]] = []
        self._shut = True
        self.size = 0
        self.hits = 0
        self.misses = 0

    def open(self) -> None:
        """Let entries in."""
        with self._lock:
            self._shut = self._limit == 0

    def shut(self) -> None:
        """Drop everything, and let nothing in, not even what is being read now."""
        with self._lock:
            self._shut = True
            self._reads.clear()
            self._entries.clear()
            self.size = 0

    def get(self, key: Key) -> bytes | Unknown | None:
        """Return an entry, or `UNKNOWN`."""
        if self._shut:
            return UNKNOWN
        with self._lock:
            found = self._entries.get(key)
            if found is None or (self._longest is not None and time.monotonic() - found[1] > self._longest):
                self.misses += 1
                return UNKNOWN
            self._entries.move_to_end(key)
            self.hits += 1
            return found[0]

    def begin(self) -> set[Key] | None:
        """Say that a read begins: what is dropped from now on, that read may have seen too early."""
        with self._lock:
            if self._shut:
                return None
            dropped: set[Key] = set()
            self._reads.append(dropped)
            return dropped

    def end(self, dropped: set[Key] | None, found: Iterable[tuple[Key, bytes | None]]) -> None:
        """Take what a read found, but for what was dropped since it began."""
        with self._lock:
            reads = [one for one in self._reads if one is not dropped]
            if dropped is None or len(reads) == len(self._reads):  # the cache was shut meanwhile
                return
            self._reads = reads
            now = time.monotonic()
            for key, packed in found:
                if key not in dropped:
                    self._remove(key)
                    self._entries[key] = (packed, now)
                    self.size += _bytes(key, packed)
            while self.size > self._limit:
                self._remove(next(iter(self._entries)))

    def drop(self, key: Key) -> None:
        """Forget an entry: there is a newer one."""
        with self._lock:
            self._remove(key)
            for dropped in self._reads:
                dropped.add(key)

    def _remove(self, key: Key) -> None:
        if (gone := self._entries.pop(key, None)) is not None:
            self.size -= _bytes(key, gone[0])

    def __len__(self) -> int:
        return len(self._entries)


def _bytes(key: Key, packed: bytes | None) -> int:
    return ENTRY_BYTES + 4 * len(key[1]) + len(packed or b"")
