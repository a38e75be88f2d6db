"""What the database declares comes to run on real servers, and what it no longer declares goes, without a failure."""

import asyncio
import dataclasses
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import sqlalchemy as sa

from benchmarks.load_generator import drive, request
from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, REPLICAS
from marina.releases.declarations import declare, read_archive
from tests import postgres
from tests.marina.serving.test_reconciler import until
from tests.serving import PREDICTS, archive, running

SIDECARS = {"collector", "api", "controller", "shadow"}
FAILING = """
class Fails:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        raise ValueError("no")
"""
QUICK = PREDICTS | {"request_timeout_s": 5}


def put(database: Database, path: Path, weight: float = 0.0) -> None:
    with database.writing() as connection:
        declare(connection, dataclasses.replace(read_archive(path), weight=weight), time.time())


def weigh(database: Database, weights: dict[str, float]) -> None:
    with database.writing() as connection:
        for version, weight in weights.items():
            which = DECLARATIONS.c.version == version
            connection.execute(sa.update(DECLARATIONS).where(which).values(weight=weight))


def reports(database: Database) -> dict[tuple[str, str], tuple[str, float]]:
    with database.reading() as connection:
        rows = connection.execute(sa.select(REPLICAS)).all()
    return {(row.replica, row.version): (row.state, row.weight) for row in rows}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/marina.db")
    yield made
    made.close()


def test_versions_come_and_go_under_load_without_a_failed_request(tmp_path: Path, store: Database) -> None:
    overrides = QUICK | {"database_url": str(store.engine.url), "replica": "a"}
    with running([archive(tmp_path)], overrides) as server, ThreadPoolExecutor(1) as pool:
        seconds = 25.0
        body = request("/predictions/echo", b"{}")
        load = pool.submit(lambda: asyncio.run(drive(server.url, [body], 1, seconds)))
        put(store, archive(tmp_path, version="2.0"))
        until(lambda: reports(store).get(("a", "2.0")) == ("ready", 0.0))
        assert httpx.get(f"{server.url}/ping").status_code == 200
        for share in (0.05, 0.5, 1.0):
            weigh(store, {"2.0": share, "1.0": 1 - share})
            changed = time.monotonic()
            until(lambda share=share: reports(store)["a", "2.0"][1] == share)  # type: ignore[misc]
            assert time.monotonic() - changed < 2
            time.sleep(0.5)
        assert httpx.post(f"{server.url}/predictions/echo", json={}).json()["version"] == "2.0"
        with store.writing() as connection:
            connection.execute(sa.delete(DECLARATIONS).where(DECLARATIONS.c.version == "1.0"))
        until(lambda: ("a", "1.0") not in reports(store))
        assert httpx.post(f"{server.url}/predictions/echo/1.0", json={}).status_code == 404
        assert server.worker_pids("echo", "2.0")
        assert not server.worker_pids("echo", "1.0")
        latencies, errors, _ = load.result()  # no connection was closed either, or this would raise
        assert errors == 0 < len(latencies)


def test_a_version_that_is_declared_with_another_archive_is_loaded_anew(tmp_path: Path, store: Database) -> None:
    with running([archive(tmp_path)], QUICK | {"database_url": str(store.engine.url), "replica": "a"}) as server:
        put(store, archive(tmp_path, version="2.0"))
        until(lambda: reports(store).get(("a", "2.0")) == ("ready", 0.0))
        (tmp_path / "other").mkdir()
        put(store, archive(tmp_path / "other", version="2.0", config={"batchSize": 2}))
        until(lambda: reports(store).get(("a", "2.0"), ("",))[0] == "draining")
        until(lambda: reports(store).get(("a", "2.0")) == ("ready", 0.0))
        described = httpx.get(f"{server.management_url}/models/echo/2.0", headers=server.authorization).json()
        assert described[0]["batchSize"] == 2


def test_at_equal_weights_the_older_version_stands_in_while_the_newer_one_loads(
    tmp_path: Path, store: Database
) -> None:
    slow = archive(tmp_path, version="2.0", config={"load_s": 10})
    with running([archive(tmp_path)], QUICK | {"database_url": str(store.engine.url), "replica": "a"}) as server:
        put(store, slow, weight=1.0)
        until(lambda: reports(store).get(("a", "2.0")) == ("loading", 0.0))
        with httpx.Client(base_url=server.url) as client:
            asked = [client.post("/predictions/echo", json={}) for _ in range(20)]
        assert {(answer.status_code, answer.headers["x-model-version"]) for answer in asked} == {(200, "1.0")}
        until(lambda: reports(store)["a", "2.0"] == ("ready", 1.0))


def test_requests_on_their_way_are_answered_before_a_version_goes(tmp_path: Path, store: Database) -> None:
    overrides = QUICK | {"database_url": str(store.engine.url), "replica": "a"}
    with running([archive(tmp_path)], overrides) as server, ThreadPoolExecutor(4) as pool:
        put(store, archive(tmp_path, version="2.0"))
        until(lambda: reports(store).get(("a", "2.0")) == ("ready", 0.0))
        clients = [httpx.Client(base_url=server.url, timeout=20) for _ in range(4)]
        for client in clients:
            client.post("/predictions/echo/2.0", json={})  # they are connected
        asked = [pool.submit(client.post, "/predictions/echo/2.0", json={"sleep_s": 1.5}) for client in clients]
        time.sleep(0.8)
        with store.writing() as connection:
            connection.execute(sa.delete(DECLARATIONS).where(DECLARATIONS.c.version == "2.0"))
        assert [future.result().status_code for future in asked] == [200] * 4
        for client in clients:
            client.close()
        until(lambda: ("a", "2.0") not in reports(store))


def test_a_version_that_refuses_is_reported_with_its_words_and_takes_nothing(tmp_path: Path, store: Database) -> None:
    overrides = QUICK | {"database_url": str(store.engine.url), "replica": "a"}
    with running([archive(tmp_path)], overrides) as server:
        put(store, archive(tmp_path, version="2.0", config={"refuse": "golden input 3 is off"}), weight=0.5)
        put(store, archive(tmp_path, version="3.0", code=FAILING), weight=0.5)
        until(lambda: [reports(store).get(("a", f"{n}.0"), ("",))[0] for n in (2, 3)] == ["refused"] * 2)
        with store.reading() as connection:
            reasons = dict(connection.execute(sa.select(REPLICAS.c.version, REPLICAS.c.reason)).all())
        assert "golden input 3 is off" in reasons["2.0"]
        assert "its own example fails" in reasons["3.0"]
        assert {httpx.post(f"{server.url}/predictions/echo", json={}).status_code for _ in range(50)} == {200}


@pytest.mark.slow
def test_servers_that_share_a_database_follow_it_alike(tmp_path: Path, store: Database) -> None:
    shared = QUICK | {"database_url": str(store.engine.url), "archive_store": str(tmp_path)}
    archive(tmp_path)
    with running([], shared | {"replica": "a"}) as a, running([], shared | {"replica": "b"}) as b:
        put(store, archive(tmp_path, version="2.0"), weight=1.0)
        weigh(store, {"1.0": 0.0})
        wanted = {(name, version): ("ready", weight) for name in "ab" for version, weight in (("1.0", 0), ("2.0", 1))}
        until(lambda: reports(store) == wanted)
        for server in (a, b):
            assert httpx.post(f"{server.url}/predictions/echo", json={}).json()["version"] == "2.0"


@pytest.mark.slow
def test_serving_goes_on_without_the_database_and_follows_it_again(
    tmp_path: Path, postgres_server: postgres.Postgres
) -> None:
    with postgres.running() as own:
        overrides = QUICK | {"database_url": own.url(), "replica": "a"}
        with running([archive(tmp_path)], overrides) as server:
            database = Database(own.url())
            own.kill()
            end = time.monotonic() + 6
            while time.monotonic() < end:
                assert httpx.post(f"{server.url}/predictions/echo", json={}).status_code == 200
                time.sleep(0.1)
            assert "the database is unavailable" in server.output.read_text()
            own.start()
            put(database, archive(tmp_path, version="2.0"))
            until(lambda: reports(database).get(("a", "2.0"), ("",))[0] == "ready")
            database.close()


def test_a_sidecar_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with running([archive(tmp_path)]) as server:
        before = server.pids
        assert before.keys() >= SIDECARS
        for name in SIDECARS:
            os.kill(before[name], signal.SIGKILL)
        until(lambda: all(server.pids[name] != before[name] for name in SIDECARS))
        time.sleep(1)
        assert all(psutil.pid_exists(server.pids[name]) for name in SIDECARS)


def test_a_silent_versions_workers_take_only_what_is_left_over_until_it_has_traffic(
    tmp_path: Path, store: Database
) -> None:
    with running([archive(tmp_path)], QUICK | {"database_url": str(store.engine.url), "replica": "a"}) as server:
        silent = dataclasses.replace(read_archive(archive(tmp_path, version="2.0")), weight=0.0, input_share=0.5)
        with store.writing() as connection:
            declare(connection, silent, time.time())
        until(lambda: reports(store).get(("a", "2.0")) == ("ready", 0.0))
        assert json.loads((server.state_dir / "spool" / "input_share.json").read_text()) == {"echo": 0.5}

        def scheduled(version: str) -> set[int]:
            return {os.sched_getscheduler(pid) for pid in server.worker_pids("echo", version)}

        until(lambda: scheduled("2.0") == {os.SCHED_IDLE})
        assert scheduled("1.0") == {os.SCHED_OTHER}
        weigh(store, {"2.0": 5.0})
        until(lambda: reports(store).get(("a", "2.0")) == ("ready", 5.0))
        until(lambda: scheduled("2.0") == {os.SCHED_OTHER})
