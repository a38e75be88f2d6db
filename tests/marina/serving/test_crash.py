"""Everything is killed at random during real rollouts under load: all of them end right, and nothing answered is lost.

``MARINA_TEST_ROLLOUTS=50 python -m pytest tests/marina/serving/test_crash.py`` does fifty; the ordinary run does a few.
"""

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import EVIDENCE, PREDICTIONS
from marina.releases import ledger
from marina.releases.declarations import Declared, read_archive
from marina.rollout import rollouts, verdicts
from marina.rollout.policy.schema import Policy
from marina.serving.stub_archive import build_stub
from tests import postgres
from tests.families.code_health import rows, tiny
from tests.serving import PREDICTS, Server, running
from training.code_health.release import release
from training.packaging.archive import build

ROLLOUTS = int(os.environ.get("MARINA_TEST_ROLLOUTS", "4"))
MODEL = "code_risk"
VICTIMS = ("controller", "collector", "java", "nginx", "database", "api", "shadow")

# Bounds that are decided within a few seconds of this test's traffic.
POLICY = Policy.model_validate(
    {
        "false_alarm_rate": 0.05,
        "false_promotion_rate": 0.05,
        "gates": {
            "errors": {"limit": 0.5, "accept": 0.7},
            "latency": {"limit": 0.9, "accept": 0.95, "margin_ms": 5000, "required": False},
            "accuracy": {"limit": 0.5, "accept": 0.7, "required": False},
        },
        "steps": [{"share": 0.5, "at_least_s": 0.5}, {"share": 1.0, "at_least_s": 0.5}],
    }
)

BAD = """
class Errs:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        if context.get_request_header(0, "X-Shadow"):
            return [b"{}"] * len(data)  # it passes its own example, so it is let into traffic
        raise ValueError("every request fails")
"""


class Clients:
    """Three clients that never stop asking, and remember what they were answered."""

    def __init__(self, url: str) -> None:
        self.answered: dict[str, str] = {}
        self.sent = 0
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(3)]

    @contextlib.contextmanager
    def asking(self) -> Iterator["Clients"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def _ask(self, number: int) -> None:
        body = {"features": rows(MODEL, 1)[0].tolist()}
        with httpx.Client(base_url=self._url, timeout=20) as client:
            for count in itertools.count():
                if self._stop.wait(0.02):
                    return
                ident = f"{number}-{count}"
                self.sent += 1
                with contextlib.suppress(httpx.TransportError):  # the gateway is one of the victims
                    answer = client.post(f"/predictions/{MODEL}", json=body, headers={"X-Request-Id": ident})
                    if answer.status_code == 200:
                        self.answered[ident] = answer.headers["x-model-version"]


def candidates(folder: Path) -> dict[str, Declared]:
    good = [build(release(tiny()[MODEL], version), folder).path for version in ("1.0", "2.0")]
    return {one.version: one for one in map(read_archive, [*good, build_stub(folder, MODEL, "3.0", BAD)])}


def kill(victim: str, server: Server, own: postgres.Postgres) -> None:
    if victim == "database":
        own.kill()
        time.sleep(0.5)
        own.start()
        return
    with contextlib.suppress(ProcessLookupError, KeyError):  # just dead, or not up again
        os.kill(server.pids[victim], signal.SIGKILL)


def ended(database: Database, number: int) -> rollouts.Rollout | None:
    try:
        with database.reading() as connection:
            now = rollouts.rollout(connection, number)
    except sa.exc.SQLAlchemyError:
        return None
    return now if now is not None and now.ended_at is not None else None


def begin(database: Database, candidate: Declared) -> int:
    for _ in range(100):
        with contextlib.suppress(sa.exc.SQLAlchemyError), database.writing() as connection:
            return rollouts.start(connection, candidate, POLICY, "tester", time.time()).id
        time.sleep(0.1)
    raise AssertionError("no rollout could be begun")


@pytest.mark.slow
@pytest.mark.timeout(60 + 90 * ROLLOUTS)
def test_rollouts_end_right_and_nothing_answered_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    if why := postgres.missing():
        pytest.skip(why)
    chance = random.Random(7)
    found = candidates(tmp_path)
    stable = "1.0"
    killed: list[str] = []
    with postgres.running() as own:
        overrides: dict[str, Any] = PREDICTS | {"database_url": own.url(), "request_timeout_s": 5}
        with (
            running([found["1.0"].archive], overrides) as server,
            contextlib.closing(Database(own.url())) as database,
            Clients(server.url).asking() as clients,
        ):
            for _ in range(ROLLOUTS):
                canary = chance.choice(["3.0", "2.0" if stable == "1.0" else "1.0"])
                number = begin(database, found[canary])
                end = time.monotonic() + 90
                kills = sorted(chance.uniform(0, 8) for _ in range(chance.randint(1, 3)))
                start = time.monotonic()
                while (last := ended(database, number)) is None:
                    if kills and time.monotonic() - start > kills[0]:
                        kills.pop(0)
                        killed.append(chance.choice(VICTIMS))
                        kill(killed[-1], server, own)
                    assert time.monotonic() < end, f"{canary} after {killed}: {server.output.read_text()[-3000:]}"
                    time.sleep(0.05)
                assert last.phase == ("rolled back" if canary == "3.0" else "done"), (last, killed)
                stable = stable if canary == "3.0" else canary
            kept = {ident: version for ident, version in clients.answered.items() if version != "3.0"}
            _nothing_lost(database, kept, clients)
            with database.reading() as connection:
                assert ledger.verify(connection) == []
                live = ledger.live_at(connection, time.time())[MODEL]
                assert max(live, key=lambda version: live[version]) == stable
                for one in rollouts.all_rollouts(connection):
                    assert verdicts.replay(connection, one).faults == []
    assert len(kept) > 50 * ROLLOUTS
    assert killed


def _nothing_lost(database: Database, answered: dict[str, str], clients: Clients) -> None:
    end = time.monotonic() + 60
    while True:
        with database.reading() as connection:
            columns = (PREDICTIONS.c.request_id, PREDICTIONS.c.version)
            logged = [(row.request_id, row.version) for row in connection.execute(sa.select(*columns))]
            counted = connection.execute(sa.select(sa.func.sum(EVIDENCE.c.requests))).scalar_one()
        missing = answered.items() - set(logged)
        if not missing or time.monotonic() > end:
            break
        time.sleep(0.5)
    assert not missing, f"{len(missing)} of {len(answered)} answered requests are not in the log"
    assert len(logged) == len(set(logged))
    # They go on asking; each request is noted before it is sent.
    assert counted <= clients.sent, "some requests were counted twice"
