"""The way from a verdict to the gateway, while another process holds the database."""

import json
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, EVIDENCE, REPLICAS
from marina.releases.declarations import read_archive
from marina.rollout import rollouts
from tests.marina.rollout.releases import policy
from tests.marina.serving.test_crash import BAD
from tests.marina.serving.test_reconciler import until
from tests.serving import PREDICTS, archive, running

STEPS = [{"share": 0.5, "at_least_s": 300}, {"share": 1.0, "at_least_s": 1}]
MOST_S = 6.0  # of the ten for which nothing can be written


def asked(log: Path, version: str) -> list[float]:
    """Return when the gateway picked a version, in seconds since 1970, as far as it has written that down."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line["msec"] for line in lines if (line["version"], line["picked"]) == (version, "1")]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_bad_canary_is_off_the_traffic_at_once_though_nothing_can_be_written(tmp_path: Path) -> None:
    good, bad = archive(tmp_path), archive(tmp_path, version="2.0", code=BAD)
    with running([good], PREDICTS | {"replica": "here"}) as server:
        database = Database(f"sqlite:///{server.state_dir}/marina.db")

        def one(query: sa.Select[float]) -> float:
            with database.reading() as connection:
                return connection.execute(query).scalar() or 0

        def ask() -> None:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                while not over.wait(0.01):
                    client.post("/predictions/echo", json={})

        over = threading.Event()
        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        try:
            with database.writing() as connection:
                begun = rollouts.start(connection, read_archive(bad), policy(steps=STEPS), "tester", time.time())
            until(lambda: one(sa.select(REPLICAS.c.weight).where(REPLICAS.c.version == "2.0")) > 0, 60)
            controller = server.pids["controller"]
            os.kill(controller, signal.SIGSTOP)  # it judges when the evidence is there, and the lock taken
            seen = sa.select(sa.func.sum(EVIDENCE.c.requests)).where(EVIDENCE.c.version == "2.0")
            until(lambda: one(seen) > 400, 60)
            holder = sqlite3.connect(server.state_dir / "marina.db", isolation_level=None, timeout=30)
            holder.execute("BEGIN IMMEDIATE")
            judged_at = time.time()
            os.kill(controller, signal.SIGCONT)
            time.sleep(10)
            assert one(sa.select(DECLARATIONS.c.weight).where(DECLARATIONS.c.version == "2.0")) == 50
            holder.execute("COMMIT")
            holder.close()

            def ended() -> bool:
                with database.reading() as connection:
                    now = rollouts.rollout(connection, begun.id)
                return now is not None and now.phase == "rolled back"

            until(ended, 60)
        finally:
            over.set()
            for client in clients:
                client.join()
        time.sleep(1.5)  # until the gateway has written its last lines
        log = server.log_dir / "access.jsonl"
        last = max(asked(log, "2.0"))
        database.close()
        assert last - judged_at < MOST_S
        assert max(asked(log, "1.0")) - judged_at > 9
