"""The store with a real Redis: what is newer stays, others' writes are seen, and Redis may die or forget."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from marina.database.connection import Database
from marina.features.redis_online import RedisOnline, key_of
from marina.features.store import FeatureStore
from marina.features.vectors import pack
from marina.features.views import VIEWS
from tests import redis

VIEW = VIEWS["household"]
WIDTH = len(VIEW.features)
NOW = time.time()


@pytest.fixture
def server() -> Iterator[redis.Redis]:
    """A server that may be killed."""
    if why := redis.missing():
        pytest.skip(why)
    with redis.running() as running:
        yield running


@pytest.fixture
def database(tmp_path: object) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/marina.db")
    made.upgrade()
    yield made
    made.close()


def vector(first: float) -> list[list[float]]:
    return [[first] * WIDTH]


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    end = time.monotonic() + 20
    while not await holds():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.02)


async def settled(store: FeatureStore, view: str = "household") -> None:
    """Wait until reads come from Redis."""

    async def from_redis() -> bool:
        before = store.reads["redis"]
        await store.get(view, [f"nobody {time.monotonic()}"])
        return store.reads["redis"] > before

    await until(from_redis, "Redis is not read")


async def first(store: FeatureStore, entity: str = "a") -> float:
    return float((await store.get("household", [entity])).values[0, 0])


def test_what_is_newer_is_never_overwritten(server: redis.Redis) -> None:
    online = RedisOnline(server.url)

    def put(event: int, known: int, value: float) -> int:
        base = round(NOW * 1e6)
        import numpy as np

        packed = pack(VIEW, np.array(vector(value)), np.array([base + event]), base + known)
        return online.put(VIEW, ["a"], packed)

    assert [put(5, 6, 1), put(4, 9, 2), put(5, 6, 3), put(5, 5, 4), put(5, 7, 5), put(6, 6, 6)] == [1, 0, 0, 0, 1, 1]
    with server.client() as client:
        kept = client.get(key_of(VIEW, "a"))
        assert isinstance(kept, bytes) and VIEW.holds(kept)
        assert 2 * VIEW.ttl_s - 3600 < client.pttl(key_of(VIEW, "a")) / 1000 < 2 * VIEW.ttl_s + 120
    asyncio.run(online.close())


def test_anothers_write_is_seen_though_the_vector_was_cached(server: redis.Redis, database: Database) -> None:
    async def reads() -> None:
        other = FeatureStore(database, dict(VIEWS), server.url)
        other.write("household", ["a"], [NOW - 9], vector(1))
        async with FeatureStore(database, dict(VIEWS), server.url, 1 << 20) as store:
            await settled(store)
            assert await first(store) == 1 and await first(store) == 1
            assert store.reads["cache"] == 1
            other.write("household", ["a"], [NOW - 8], vector(2))
            await until(lambda: _is(store, 2), "the write is not seen")
            assert await first(store, "b") != 0  # nothing is known of it
            other.write("household", ["b"], [NOW - 8], vector(3))
            await until(lambda: _is(store, 3, "b"), "what was cached as missing stays missing")

    asyncio.run(reads())


async def _is(store: FeatureStore, value: float, entity: str = "a") -> bool:
    return await first(store, entity) == value


def test_reads_that_come_together_share_round_trips(server: redis.Redis, database: Database) -> None:
    async def reads() -> None:
        writer = FeatureStore(database, dict(VIEWS), server.url)
        names = [f"h{number}" for number in range(400)]
        writer.write("household", names, [NOW - 9] * 400, [[float(number)] * WIDTH for number in range(400)])
        async with FeatureStore(database, dict(VIEWS), server.url) as store:
            await settled(store)
            with server.client() as client:
                before = client.info("commandstats")["cmdstat_mget"]["calls"]
                found = await asyncio.gather(*(first(store, name) for name in names))
                after = client.info("commandstats")["cmdstat_mget"]["calls"]
            assert found == list(range(400)) and after - before <= 3

    asyncio.run(reads())


def test_redis_is_killed_and_comes_back_empty_while_it_is_read_and_written(
    server: redis.Redis, database: Database
) -> None:
    async def reads() -> None:
        async with FeatureStore(database, dict(VIEWS), server.url, 1 << 20) as store:
            store.write("household", ["a"], [NOW - 9], vector(1))
            await settled(store)
            assert await first(store) == 1
            server.kill()
            assert await first(store) == 1  # from the database
            await until(_is_empty(store), "what nobody follows is still in the cache")
            assert not store.write("household", ["a"], [NOW - 8], vector(2)).online
            assert await first(store) == 2
            server.start()
            await settled(store)
            assert await first(store) == 2
            assert store.reads["database"] > 0
            with server.client() as client:
                assert client.exists(key_of(VIEW, "a"))
                client.flushall()
            assert await first(store) == 2  # emptied by a person
            await settled(store)
            assert await first(store) == 2
            await until(_nothing_waits(store), "the write that Redis missed still waits")

    asyncio.run(reads())


def _is_empty(store: FeatureStore) -> Callable[[], Awaitable[bool]]:
    async def empty() -> bool:
        return len(store.cache) == 0

    return empty


def _nothing_waits(store: FeatureStore) -> Callable[[], Awaitable[bool]]:
    async def nothing() -> bool:
        return store.offline.waiting(VIEW, time.time() + 60) == []

    return nothing


def test_a_redis_that_comes_back_with_an_old_dump_serves_nothing_old(server: redis.Redis, database: Database) -> None:
    async def reads() -> None:
        async with FeatureStore(database, dict(VIEWS), server.url, 1 << 20) as store:
            store.write("household", ["a"], [NOW - 9], vector(1))
            await settled(store)
            with server.client() as client:
                client.save()
            store.write("household", ["a"], [NOW - 8], vector(2))
            server.kill()
            server.start()
            for _ in range(50):
                assert await first(store) == 2
                await asyncio.sleep(0.02)
            await settled(store)
            assert await first(store) == 2

    asyncio.run(reads())


def test_a_writer_that_was_killed_between_the_stores_is_made_up_for(server: redis.Redis, database: Database) -> None:
    import numpy as np

    async def reads() -> None:
        async with FeatureStore(database, dict(VIEWS), server.url) as store:
            store.write("household", ["a"], [NOW - 9], vector(1))
            await settled(store)
            events = np.array([round((NOW - 8) * 1e6)])
            store.offline.append(VIEW, ["a"], events, np.array(vector(2)), None, True)  # and then the power went
            assert await first(store) == 1
            await until(lambda: _is(store, 2), "the write never reached Redis")

    asyncio.run(reads())


def test_a_redis_that_hangs_is_left_alone(server: redis.Redis, database: Database) -> None:
    import signal

    async def reads() -> None:
        async with FeatureStore(database, dict(VIEWS), server.url, 1 << 20) as store:
            store.write("household", ["a"], [NOW - 9], vector(1))
            await settled(store)
            server.process.send_signal(signal.SIGSTOP)
            try:
                begun = time.monotonic()
                assert await first(store) == 1
                assert await first(store, "b") != 1
                assert time.monotonic() - begun < 5
            finally:
                server.process.send_signal(signal.SIGCONT)
            await settled(store)

    asyncio.run(reads())
