"""Redis is killed and comes back while questions arrive over HTTP: every one is answered; and what the memory holds."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
import uvicorn

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS
from marina.products import redis_level
from marina.products.flags.table import set_flag
from marina.products.memory_level import MemoryLevel
from marina.products.redis_level import RedisLevel
from marina.products.service import application, build_context
from marina.serving.traffic_routes import Routes
from marina.settings import Settings
from models.code_health.features import READS
from tests import redis
from tests.marina.products.gateway import Over

MODEL, CLIENTS, QUESTIONS = "code_risk", 8, 200
MEMORY_BYTES = 20_000
"""Room for a fifth of the questions: the others are Redis's, where it is there."""

HUNDRED_MB = 100e6


@contextlib.asynccontextmanager
async def serving(folder: Path, redis_url: str) -> AsyncIterator[tuple[str, RedisLevel]]:
    """Serve the interface over HTTP, with a model behind it that answers at once; give its address, and its Redis."""
    url = f"sqlite:///{folder}/marina.db"
    database = Database(url)
    database.upgrade()
    with database.writing() as connection:
        set_flag(connection, "ml_api_cache", "test", "answers are kept", time.time(), share=1.0)
        connection.execute(
            sa.insert(DECLARATIONS).values(
                model=MODEL, version="1.0", archive="none.mar", sha256="a" * 64, weight=1.0, input_share=0.0,
                declared_at=time.time(), signed_by="", workers=0,
            )
        )  # fmt: skip
    routes = Routes(folder)
    routes.declare(MODEL, "1.0")
    routes.open(MODEL, "1.0")
    routes.share(MODEL, [("1.0", 1.0)])
    settings = Settings.model_validate(
        {"state_dir": folder, "database_url": url, "ml_cache_redis_url": redis_url, "ml_cache_bytes": MEMORY_BYTES}
    )
    context = build_context(settings, database, folder)

    def model(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"predictions": request.content.decode()}, headers={"X-Model-Version": "1.0"})

    context.server._gateway = Over(httpx.MockTransport(model))
    server = uvicorn.Server(uvicorn.Config(application(context), log_level="error"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve([listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        assert context.server.cache.shared is not None
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", context.server.cache.shared
        finally:
            server.should_exit = True
            await task
            database.close()


@pytest.mark.skipif(bool(redis.missing()), reason=redis.missing())
def test_redis_killed_and_back_under_load_fails_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_level, "PAUSE_S", 0.2)
    names = READS[MODEL]
    stage, answers, statuses = "before", Counter[tuple[str, str]](), Counter[int]()

    async def ask(client: httpx.AsyncClient, rng: random.Random, going: asyncio.Event) -> None:
        while going.is_set():
            number, asked_in = rng.randrange(QUESTIONS), stage
            answer = await client.post("/ml/code/risk", json={"features": dict.fromkeys(names, float(number))})
            statuses[answer.status_code] += 1
            said = answer.json()
            assert f":{float(number)}," in said["predictions"]  # its own answer, and no other question's
            if asked_in == stage:
                answers[stage, said["served"]["models"][MODEL]["cache"]] += 1

    async def until(what: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not what():
                await asyncio.sleep(0.01)

    async def run(server: redis.Redis) -> None:
        nonlocal stage
        going = asyncio.Event()
        going.set()
        async with serving(tmp_path, server.url) as (url, level), httpx.AsyncClient(base_url=url, timeout=30) as client:
            clients = [asyncio.create_task(ask(client, random.Random(seed), going)) for seed in range(CLIENTS)]
            try:
                await until(lambda: answers["before", "redis"] >= 20)
                server.kill()
                await until(lambda: level.open)
                stage = "without"
                await until(lambda: answers["without", "miss"] >= 100)
                assert answers["without", "redis"] == 0 and answers["without", "memory"] > 0
                await asyncio.to_thread(server.start)
                stage = "after"
                await until(lambda: answers["after", "redis"] >= 20 and not level.open)
            finally:
                going.clear()
                await asyncio.gather(*clients)

    with redis.running() as server:
        asyncio.run(run(server))
    assert set(statuses) == {200} and statuses[200] > 250, (statuses, answers)


def test_a_full_memory_of_the_usual_size_is_below_100_mb() -> None:
    usual = Settings().ml_cache_bytes
    level = MemoryLevel(usual // 16)
    tracemalloc.start()
    try:
        for number in range(20_000):
            level.put(f"{number:064}", b"%300d" % number, 600.0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert level.evicted > 0 and level.bytes <= usual // 16
    assert 16 * held < HUNDRED_MB
