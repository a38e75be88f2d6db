"""A canary that fails on one request in twenty, under the policy that ships, with real servers and clients."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from events.database import Database
from events.tables import REPLICAS, VERDICTS
from rollout import ledger, rollouts
from rollout.clients import Clients, Question
from rollout.declaration import read_archive
from rollout.policy import read_policy
from tests.serving import archive, running

CODE = """
class Counted:
    def initialize(self, context):
        self.every = context.model_yaml_config.get("fails_every", 0)
        self.count = 0

    def handle(self, data, context):
        self.count += 1
        if self.every and self.count % self.every == 0:
            raise ValueError("one of so many")
        return [b"{}"] * len(data)
"""


@pytest.mark.slow
def test_a_canary_that_errs_is_off_the_traffic_within_a_minute_and_fails_nobody_else(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    config = {"batchSize": 1}
    stable = archive(tmp_path, "counted", "1.0", CODE, config)
    canary = archive(tmp_path, "counted", "2.0", CODE, config | {"fails_every": 20})
    with running([stable], {"request_timeout_s": 5, "replica": "here"}) as server:
        database = Database(f"sqlite:///{server.state_dir}/marina.db")
        clients = Clients(server.url, "counted", [Question(b"{}", [])], per_s=100)
        clients.start()
        try:
            time.sleep(10)  # stable's p95 is learned from it
            with database.writing() as connection:
                begun = rollouts.start(connection, read_archive(canary), read_policy(), "tester", time.time())
            last, turned_at = begun, 0.0
            end = time.monotonic() + 200
            while last.ended_at is None:
                assert time.monotonic() < end, last
                time.sleep(0.02)
                with database.reading() as connection:
                    last = rollouts.rollout(connection, begun.id) or begun
                    if last.phase == "rolling back" and not turned_at:
                        here = sa.select(REPLICAS.c.weight).where(REPLICAS.c.version == "2.0")
                        turned_at = time.time() if connection.execute(here).scalar_one() == 0 else 0.0
            time.sleep(2)
        finally:
            clients.stop()
        with database.reading() as connection:
            assert ledger.verify(connection) == []
            judged_at = connection.execute(sa.select(sa.func.max(VERDICTS.c.time))).scalar_one()
        database.close()
    assert last.phase == "rolled back", last
    assert "errors: canary" in last.note
    failures = clients.failures()
    assert {(one.version, one.status) for one in failures} == {("2.0", 500)}
    first_bad, last_canary = failures[0].sent, max(one.sent for one in clients.seen if one.version == "2.0")
    record_property("seconds from the first bad request to the verdict", judged_at - first_bad)
    record_property("seconds from the verdict to the last request of the canary", last_canary - judged_at)
    assert last_canary - first_bad < 60
    assert max(turned_at, last_canary) - judged_at < 2
    assert Counter(one.version for one in clients.seen)["1.0"] > 1000
