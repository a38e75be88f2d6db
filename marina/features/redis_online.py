"""The online store in Redis 7: a packed vector per view and entity, the newest by event time, and of those by known.

A key `fs:filled:…` says that all that the offline store holds is here; it names Redis' run, so that a Redis that was
emptied, or came back with an old dump, counts as empty until it is filled again.
"""

import secrets
from collections.abc import Sequence
from typing import Any, Final

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from marina.features.errors import OnlineStoreAwayError
from marina.features.views import HEAD, KEPT, PREFIX, View

TIMEOUT_S: Final = 1.0
CHUNK: Final = 500
FILLED_S: Final = 7 * 86_400
"""After a week it is filled again, whatever it says: nothing that was evicted stays missing."""

SLACK_MS: Final = 60_000
"""By how much Redis' clock may be ahead of this one before keys expire too early."""

_FAULTS = (RedisError, OSError, TimeoutError)

_PUT: Final = """
local put = 0
for place, key in ipairs(KEYS) do
    local new = ARGV[2 * place - 1]
    local old = redis.call('GETRANGE', key, 4, 19)
    local newer = #old < 16
    if not newer then
        local event, known = struct.unpack('>i8i8', old)
        local new_event, new_known = struct.unpack('>i8i8', new, 5)
        newer = new_event > event or (new_event == event and new_known > known)
    end
    if newer then
        redis.call('SET', key, new, 'PXAT', ARGV[2 * place])
        put = put + 1
    end
end
return put"""

_FINISH: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '1', 'EX', ARGV[2])
return 1"""


class RedisOnline:
    """Redis, for one event loop's reads and any thread's writes.

    Parameters
    ----------
    url
        ``redis://…``; may hold a password, and is never shown.
    """

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = {
            "socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "retry": Retry(NoBackoff(), 0)
        }  # fmt: skip
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, protocol=3, max_connections=4, timeout=TIMEOUT_S, **options
        )
        self._reads = redis.asyncio.Redis(connection_pool=pool)
        self._writes = redis.Redis.from_url(url, protocol=3, **options)
        self.run: str | None = None
        """Redis' run id, while a connection follows it (`marina.features.invalidations`)."""

    async def fetch(self, view: View, entities: Sequence[str]) -> list[bytes | None] | None:
        """Read many entities; None where Redis has not been filled yet.

        Raises
        ------
        OnlineStoreAwayError
            When Redis does not answer.
        """
        if self.run is None:
            raise _away(ConnectionError())
        found: list[bytes | None] = []
        for start in range(0, len(entities), CHUNK):
            keys = [view.prefix + entity for entity in entities[start : start + CHUNK]]
            try:
                answer: list[Any] = await self._reads.mget([_filled(view, self.run), *keys])
            except _FAULTS as error:
                self.run = None  # what answers next may be another Redis
                raise _away(error) from error
            if answer[0] is None:
                return None
            found += answer[1:]
        return found

    def read(self, view: View, entities: Sequence[str]) -> list[bytes | None] | None:
        """Do as `fetch` does, from a program without an event loop."""
        found: list[bytes | None] = []
        try:
            run = self._writes.info("server")["run_id"]
            for start in range(0, len(entities), CHUNK):
                keys = [key_of(view, entity) for entity in entities[start : start + CHUNK]]
                answer: list[Any] = self._writes.mget([_filled(view, run), *keys])
                if answer[0] is None:
                    return None
                found += answer[1:]
        except _FAULTS as error:
            raise _away(error) from error
        return found

    def put(self, view: View, entities: Sequence[str], packed: Sequence[bytes]) -> int:
        """Write vectors where they are newer than what is there, each atomically.

        Returns
        -------
        int
            How many were.

        Raises
        ------
        OnlineStoreAwayError
            When Redis does not answer: some may have been written.
        """
        put = 0
        kept_us = int(KEPT * view.ttl_s * 1e6)
        try:
            for start in range(0, len(entities), CHUNK):
                keys = [key_of(view, entity) for entity in entities[start : start + CHUNK]]
                given: list[bytes | int] = []
                for one in packed[start : start + CHUNK]:
                    given += [one, (HEAD.unpack_from(one)[1] + kept_us) // 1000 + SLACK_MS]
                put += int(self._writes.eval(_PUT, len(keys), *keys, *given))
        except _FAULTS as error:
            raise _away(error) from error
        return put

    def begin_filling(self, view: View) -> str:
        """Say that it is being filled; what is returned is for `end_filling`."""
        token = secrets.token_hex(8)
        try:
            self._writes.set(_filling(view, token), token, ex=3600)
        except _FAULTS as error:
            raise _away(error) from error
        return token

    def end_filling(self, view: View, token: str) -> bool:
        """Say that it is filled, unless Redis was emptied or replaced since `begin_filling`."""
        try:
            run = self._writes.info("server")["run_id"]
            return bool(self._writes.eval(_FINISH, 2, _filling(view, token), _filled(view, run), token, str(FILLED_S)))
        except _FAULTS as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Let go of every connection."""
        self._writes.close()
        await self._reads.aclose()
        await self._reads.connection_pool.disconnect()


def key_of(view: View, entity: str) -> str:
    """Return an entity's key."""
    return f"{view.prefix}{entity}"


def entity_of(key: str) -> tuple[str, str] | None:
    """Return view and entity of a key; None for one that is no entity's."""
    parts = key.split(":", 3)
    return (parts[1], parts[3]) if len(parts) == 4 and parts[1] not in ("filled", "filling") else None


def _filled(view: View, run: str) -> str:
    return f"{PREFIX}filled:{view.name}:{view.schema}:{run}"


def _filling(view: View, token: str) -> str:
    return f"{PREFIX}filling:{view.name}:{view.schema}:{token}"


def _away(error: BaseException) -> OnlineStoreAwayError:
    return OnlineStoreAwayError(
        f"Redis (MARINA_ML_FEATURE_STORE_URL) does not answer: {type(error).__name__}. The database is read meanwhile"
    )
