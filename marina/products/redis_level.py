"""The second cache: Redis, shared by several servers; whatever is wrong with it costs no request anything.

While Redis fails it is not asked (a circuit breaker): after `FAILURES` in a row it is left alone for `PAUSE_S`, then
one request tries whether it is back.
"""

import time
from collections.abc import Callable

import redis.asyncio as redis
from redis.exceptions import RedisError

PATIENCE_S = 0.05
"""How long an answer of Redis is waited for: a model answers as fast."""

FAILURES, PAUSE_S = 3, 2.0

PREFIX = "marina:answer:"


class RedisLevel:
    """Keeps answers in Redis.

    Parameters
    ----------
    url
        Where it is.
    changed
        Called when the breaker opens (with the reason) and closes (with None).
    monotonic
        A clock that is never set, in seconds.
    """

    def __init__(
        self, url: str, changed: Callable[[str | None], None], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = redis.Redis.from_url(
            url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, max_connections=64, retry=None
        )
        self._changed = changed
        self._monotonic = monotonic
        self._failures = 0
        self._again_at = 0.0
        self.errors = 0
        """How often it failed."""

    @property
    def open(self) -> bool:
        """Whether it is left alone because it fails."""
        return self._failures >= FAILURES

    async def get(self, key: str) -> bytes | None:
        """Return what is kept under a key; None where nothing is, or Redis is not to be reached."""
        if not self._may_ask():
            return None
        try:
            found = await self._client.get(PREFIX + key)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None
        self._worked()
        return found if isinstance(found, bytes) else None

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for so long, if Redis can be reached."""
        if not self._may_ask():
            return
        try:
            await self._client.set(PREFIX + key, value, px=max(1, int(ttl_s * 1000)))
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return
        self._worked()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    def _may_ask(self) -> bool:
        if not self.open:
            return True
        now = self._monotonic()
        if now < self._again_at:
            return False
        self._again_at = now + PAUSE_S  # one tries; the others wait for what comes of it
        return True

    def _failed(self, error: Exception) -> None:
        self.errors += 1
        self._failures += 1
        self._again_at = self._monotonic() + PAUSE_S
        if self._failures == FAILURES:
            self._changed(type(error).__name__)

    def _worked(self) -> None:
        if self.open:
            self._changed(None)
        self._failures = 0
