"""Answers of models that are kept for a while: in memory, then in Redis; equal questions at once are asked once.

A key names the model, what it is asked for (predictions or explanations), the SHA-256 of the archive that answers all
of its requests, and the question as canonical JSON. So an answer is never found again once another version answers, and
while several share the requests nothing is kept or found: the release is judged by all of them.
"""

import asyncio
import hashlib
import random
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from marina.products.live_versions import Live
from marina.products.memory_level import MemoryLevel
from marina.products.redis_level import RedisLevel

JITTER = 0.1
"""Answers are kept up to this share shorter, so that those that came together do not go together."""

_EXPIRES = struct.Struct("<d")
"""When an answer in Redis is over, before it: memory keeps it no longer."""

Fetch = Callable[[], Awaitable[tuple[bytes, bool]]]
"""Asks the model; returns the answer, and whether it may be kept."""


class _Abandoned(Exception):
    """Who asked for others, too, has left."""


def cache_key(model: str, verb: str, live: Live, question: Any) -> str:
    """Return the key of a question.

    Raises
    ------
    TypeError
        When no JSON can hold the question: an integer of more than 64 bits.
    """
    said = orjson.dumps([model, verb, live.digest, question], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(said).hexdigest()


class AnswerCache:
    """Both levels.

    Parameters
    ----------
    memory, shared
        The levels; `shared` is None where there is no Redis.
    ttl_s
        How long an answer is kept at most; asked each time, so that it can be changed.
    """

    def __init__(self, memory: MemoryLevel, shared: RedisLevel | None, ttl_s: Callable[[], float]) -> None:
        self.memory = memory
        self.shared = shared
        self._ttl_s = ttl_s
        self._under_way: dict[str, asyncio.Future[bytes]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        """How often a level had an answer, or none: ("memory", "hit")."""

    def peek(self, key: str) -> bytes | None:
        """Return what the memory holds, without waiting for anything."""
        found = self.memory.get(key)
        self.counts["memory", "hit" if found is not None else "miss"] += 1
        return found

    async def get(self, key: str, fetch: Fetch) -> tuple[bytes, str]:
        """Return the answer, and where it came from: ``memory``, ``redis``, ``shared`` (with another's) or ``miss``."""
        while True:
            if (found := self.peek(key)) is not None:
                return found, "memory"
            if (flight := self._under_way.get(key)) is None:
                return await self._lead(key, fetch)
            try:
                value = await asyncio.shield(flight)
            except _Abandoned:
                continue
            self.counts["flight", "hit"] += 1
            return value, "shared"

    async def _lead(self, key: str, fetch: Fetch) -> tuple[bytes, str]:
        flight: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._under_way[key] = flight
        try:
            value, where = await self._find(key, fetch)
        except BaseException as error:
            flight.set_exception(error if isinstance(error, Exception) else _Abandoned())
            flight.exception()  # perhaps no one else waits for it
            raise
        else:
            flight.set_result(value)
            return value, where
        finally:
            del self._under_way[key]

    async def _find(self, key: str, fetch: Fetch) -> tuple[bytes, str]:
        ttl_s = self._ttl_s() * (1 - JITTER * random.random())
        if self.shared is not None:
            found = await self.shared.get(key)
            self.counts["redis", "hit" if found is not None else "miss"] += 1
            if found is not None:
                expires, value = _EXPIRES.unpack_from(found)[0], found[_EXPIRES.size :]
                self.memory.put(key, value, max(0.0, expires - time.time()))
                return value, "redis"
        value, keep = await fetch()
        if keep:
            self.memory.put(key, value, ttl_s)
            if self.shared is not None:
                await self.shared.put(key, _EXPIRES.pack(time.time() + ttl_s) + value, ttl_s)
        return value, "miss"
