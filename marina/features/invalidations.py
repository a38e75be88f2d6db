"""Follow what Redis says is outdated, on a connection of its own, and keep the process's cache in step with it.

`CLIENT TRACKING ON BCAST` on RESP3: Redis names every key of ours that anyone writes or that expires. While the
connection is down the cache is shut. https://redis.io/docs/latest/develop/reference/client-side-caching/
"""

import asyncio
import contextlib
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from marina.features.local_cache import LocalCache
from marina.features.redis_online import TIMEOUT_S, RedisOnline, entity_of
from marina.features.views import PREFIX

AGAIN_S = 0.2
PING_S = 1.0
UNANSWERED = 3
"""Pings after which a silent connection is given up; counted, since a process that is not run sends none."""

PATIENCE_S = 3.0
"""For the connection to be set up."""


class Invalidations:
    """The connection, made again whenever it is lost."""

    def __init__(self, url: str, online: RedisOnline, cache: LocalCache) -> None:
        self._url, self._online, self._cache = url, online, cache
        self._unanswered = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            with contextlib.suppress(RedisError, OSError, TimeoutError, EOFError):
                await self._follow()
            await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        client = redis.asyncio.Redis.from_url(
            self._url, protocol=3, single_connection_client=True, socket_connect_timeout=TIMEOUT_S
        )
        pinging: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                await client.initialize()
                connection: Any = client.connection
                connection._parser.set_invalidation_push_handler(self._take)  # there is no public name for it
                await client.client_tracking_on(prefix=[PREFIX], bcast=True)
                run = (await client.info("server"))["run_id"]
            self._cache.open()
            self._online.run = run
            self._unanswered = 0
            pinging = asyncio.create_task(self._ping(connection))
            while True:
                await connection.read_response(push_request=True, timeout=None)
                self._unanswered = 0
                if self._online.run is None:  # a read failed, but this connection holds: the same Redis is there
                    self._online.run = run
        finally:
            self._online.run = None
            self._cache.shut()
            if pinging is not None:
                pinging.cancel()
                await asyncio.gather(pinging, return_exceptions=True)
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()

    async def _ping(self, connection: Any) -> None:
        while self._unanswered < UNANSWERED:
            self._unanswered += 1
            await connection.send_command("PING")
            await asyncio.sleep(PING_S)
        await connection.disconnect(nowait=True)

    async def _take(self, message: Any) -> Any:
        keys = message[1]
        if keys is None:  # everything was deleted
            self._cache.shut()
            self._cache.open()
            return message
        for key in keys:
            if (found := entity_of(key.decode(errors="replace"))) is not None:
                self._cache.drop(found)
        return message
