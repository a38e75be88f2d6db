"""Answers come from a cache only while they are what a model would say; whatever Redis does, requests are answered."""

import asyncio
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.products.answer_cache import AnswerCache, cache_key
from marina.products.live_versions import Live, LiveVersions
from marina.products.market_config import MarketConfig, MarketSettings
from marina.products.memory_level import MemoryLevel
from marina.products.redis_level import FAILURES, RedisLevel
from marina.products.rule_answers import RuleAnswers
from marina.serving.traffic_routes import Routes
from tests.marina.products.gateway import declare
from tests.serving import free_ports


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_memory_is_bounded_by_bytes_and_forgets_the_least_recently_used() -> None:
    clock = Clock()
    level = MemoryLevel(10_000, clock)
    for number in range(100):
        level.put(f"k{number}", b"x" * 300, 10.0)
        level.get("k0")
        assert level.bytes <= 10_000
    assert level.get("k0") is not None and level.get("k1") is None and level.evicted > 50
    level.put("huge", b"x" * 9_000, 10.0)
    assert level.get("huge") is None
    clock.now = 11.0
    assert level.get("k0") is None


def test_equal_questions_at_once_are_asked_once() -> None:
    asked = 0

    async def fetch() -> tuple[bytes, bool]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)
        return b"answer", True

    async def main() -> list[tuple[bytes, str]]:
        cache = AnswerCache(MemoryLevel(100_000), None, lambda: 60.0)
        first = list(await asyncio.gather(*(cache.get("k", fetch) for _ in range(20))))
        return [*first, await cache.get("k", fetch)]

    found = asyncio.run(main())
    assert asked == 1 and {value for value, _ in found} == {b"answer"}
    assert [where for _, where in found] == ["miss", *["shared"] * 19, "memory"]


def test_who_waits_for_one_that_leaves_asks_itself_and_errors_are_everyones() -> None:
    async def main() -> None:
        cache = AnswerCache(MemoryLevel(100_000), None, lambda: 60.0)

        async def slow() -> tuple[bytes, bool]:
            await asyncio.sleep(30)
            return b"late", True

        async def quick() -> tuple[bytes, bool]:
            return b"quick", True

        async def broken() -> tuple[bytes, bool]:
            await asyncio.sleep(0.01)
            raise ValueError("no")

        leader = asyncio.create_task(cache.get("k", slow))
        await asyncio.sleep(0.01)
        follower = asyncio.create_task(cache.get("k", quick))
        await asyncio.sleep(0.01)
        leader.cancel()
        assert (await follower)[0] == b"quick"
        said = await asyncio.gather(*(cache.get("b", broken) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in said] == [ValueError] * 3

    asyncio.run(main())


def test_a_key_is_of_the_archive_that_answers() -> None:
    one, other = Live("1.0", "a"), Live("1.0", "b")
    assert cache_key("m", "predictions", one, {"a": 1, "b": 2}) == cache_key("m", "predictions", one, {"b": 2, "a": 1})
    keys = {
        cache_key("m", "predictions", one, {"a": 1}),
        cache_key("m", "predictions", other, {"a": 1}),
        cache_key("m", "explanations", one, {"a": 1}),
    }
    assert len(keys) == 3


def test_the_live_version_is_known_from_one_request_to_the_next(database: Database, tmp_path: Path) -> None:
    routes = Routes(tmp_path)
    live = LiveVersions(tmp_path, database)

    def find(model: str) -> Live | None:
        return asyncio.run(live.find(model))

    assert find("m") is None and find("../m") is None
    declare(database, routes, "m", {"1.0": 1.0})
    assert find("m") == Live("1.0", "m-1.0")
    declare(database, routes, "m", {"1.0": 0.5, "2.0": 0.5})
    assert find("m") is None
    declare(database, routes, "m", {"1.0": 0.0, "2.0": 1.0})
    assert find("m") == Live("2.0", "m-2.0")


def test_the_database_is_not_read_on_the_event_loop(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(database, Routes(tmp_path), "m", {"1.0": 1.0})
    live, read_in = LiveVersions(tmp_path, database), list[int]()
    read = live._read

    def watched(model: str) -> Live | None:
        read_in.append(threading.get_ident())
        return read(model)

    monkeypatch.setattr(live, "_read", watched)
    assert asyncio.run(live.find("m")) == Live("1.0", "m-1.0")
    assert len(read_in) == 1 and threading.get_ident() not in read_in


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[int]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server: apt-get install redis-server")
    [port] = free_ports(1)
    yield port


def start_redis(port: int, folder: Path) -> subprocess.Popen[bytes]:
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while subprocess.run(["redis-cli", "-p", str(port), "ping"], check=False, capture_output=True).stdout != b"PONG\n":
        assert time.monotonic() < end
        time.sleep(0.05)
    return process


def test_redis_killed_and_back_costs_no_answer(redis_port: int, tmp_path: Path) -> None:
    told: list[str | None] = []
    server = start_redis(redis_port, tmp_path)

    async def fetch() -> tuple[bytes, bool]:
        return b"asked", True

    async def main() -> None:
        nonlocal server
        clock = Clock()
        shared = RedisLevel(f"redis://127.0.0.1:{redis_port}/0", told.append, clock)
        first = AnswerCache(MemoryLevel(100_000), shared, lambda: 60.0)
        second = AnswerCache(MemoryLevel(100_000), shared, lambda: 60.0)
        assert (await first.get("k", fetch))[1] == "miss"
        assert await second.get("k", fetch) == (b"asked", "redis")
        assert (await second.get("k", fetch))[1] == "memory"
        server.kill()
        server.wait()
        for number in range(10):
            assert (await first.get(f"down{number}", fetch))[0] == b"asked"
        assert shared.open and told[0] is not None and shared.errors == FAILURES
        server = start_redis(redis_port, tmp_path)
        assert shared.open
        clock.now = 10.0
        assert (await first.get("up", fetch))[0] == b"asked"
        assert not shared.open and told[1] is None
        await shared.close()

    try:
        asyncio.run(main())
    finally:
        server.kill()
        server.wait()


def test_a_database_that_is_away_is_asked_by_one_and_the_others_go_by_what_was_known(tmp_path: Path) -> None:
    database = Database("postgresql://nobody@127.0.0.1:9/none")
    market, rules = MarketConfig(database, 600.0), RuleAnswers(database, tmp_path)
    asked: list[object] = []

    def connects(*_: object) -> None:
        asked.append((market.read(), rules.look()))  # what other requests get meanwhile

    sa.event.listen(database.engine, "do_connect", connects)
    with rules._lock:
        assert [market.read() for _ in range(3)] == [MarketSettings()] * 3
    assert rules.due and [rules.look() if rules.due else rules.rules for _ in range(3)] == [None] * 3
    assert asked == [(MarketSettings(), None)] * 2
    database.close()
