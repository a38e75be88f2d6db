"""A canary that fails one request in twenty, or refuses it, under the shipped policy, with real servers and clients."""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo.simulated_clients import Clients, Question
from marina.database.connection import Database
from marina.database.tables import REPLICAS, VERDICTS
from marina.releases import ledger
from marina.releases.declarations import read_archive
from marina.rollout import rollouts
from marina.rollout.policy.schema import read_policy
from tests.serving import PREDICTS, archive, running

CODE = """
class Counted:
    def initialize(self, context):
        self.every = context.model_yaml_config["handler"].get("fails_every", 0)
        self.refuses = context.model_yaml_config["handler"].get("refuses", False)
        self.count = 0

    def handle(self, data, context):
        self.count += 1
        if self.every and self.count % self.every == 0:
            if not self.refuses:
                raise ValueError("one of so many")
            context.set_response_status(code=422, idx=0)
        return [b"{}"] * len(data)
"""


@pytest.mark.slow
@pytest.mark.parametrize("refuses", [False, True])
def test_a_canary_that_errs_is_off_the_traffic_within_a_minute_and_fails_nobody_else(
    refuses: bool, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    config = {"batchSize": 1}
    stable = archive(tmp_path, "counted", "1.0", CODE, config)
    canary = archive(tmp_path, "counted", "2.0", CODE, config | {"fails_every": 20, "refuses": refuses})
    with running([stable], PREDICTS | {"request_timeout_s": 5, "replica": "here"}) as server:
        database = Database(f"sqlite:///{server.state_dir}/marina.db")
        clients = Clients(server.url, "counted", [Question(b"{}", [])], per_s=100, sessions=0)
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
        time.sleep(1.5)  # the gateway writes its lines once a second
        lines = [json.loads(line) for line in (server.log_dir / "access.jsonl").read_text().splitlines()]
        with database.reading() as connection:
            assert ledger.verify(connection) == []
            judged_at = connection.execute(sa.select(sa.func.max(VERDICTS.c.time))).scalar_one()
        database.close()
    assert last.phase == "rolled back", last
    assert "errors: canary" in last.note
    assert clients.failures() == []  # stable answered what the canary failed
    of_canary = [line for line in lines if line["version"] == "2.0"]
    first_bad = min(line["msec"] for line in of_canary if line["stood_in"] == "1.0")
    last_canary = max(line["msec"] for line in of_canary)
    record_property("seconds from the first bad request to the verdict", judged_at - first_bad)
    record_property("seconds from the verdict to the last request of the canary", last_canary - judged_at)
    assert last_canary - first_bad < 60
    assert max(turned_at, last_canary) - judged_at < 2
    assert Counter(one.version for one in clients.seen)["1.0"] > 1000
