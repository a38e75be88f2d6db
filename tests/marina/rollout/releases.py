"""Rollouts to test with: two versions of a model, and a supervisor of a few lines that obeys what is declared."""

import functools
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, EVIDENCE, REPLICAS, TALLIES
from marina.releases import ledger, replica_status
from marina.releases.declarations import Declared, declare
from marina.releases.lease import Lease
from marina.rollout import rollouts
from marina.rollout.audit import audit
from marina.rollout.controller import Controller
from marina.rollout.policy.schema import Policy, read_policy
from marina.rollout.rollouts import Rollout

NOW = 1_000_000.0
WATCHED = int(NOW) + 5
"""Start of the first whole window after the canary was let in."""


def policy(**changes: Any) -> Policy:
    """Return the usual policy, with steps of 60 s unless told otherwise."""
    return Policy.model_validate(_usual() | changes)


@functools.cache
def _usual() -> dict[str, Any]:
    values = read_policy().model_dump()
    for step in values["steps"]:
        step["at_least_s"] = 60
    return values


def candidate(model: str = "sums", version: str = "2.0") -> Declared:
    return Declared(model, version, Path(f"/archives/{model}-{version}.mar"), version[0] * 64)


def serve(database: Database, model: str = "sums", version: str = "1.0", now: float = NOW - 7200) -> None:
    """Declare a first version, as a supervisor does when it starts."""
    with database.writing() as connection:
        ledger.lock(connection)
        declare(connection, candidate(model, version), now)
        ledger.declared(connection, "serve", [model], now)


def begin(database: Database, model: str = "sums", version: str = "2.0", now: float = NOW, **changes: Any) -> Rollout:
    with database.writing() as connection:
        return rollouts.start(connection, candidate(model, version), policy(**changes), "ann", now)


def supervise(database: Database, replica: str = "one:8080", **states: str) -> None:
    """Report everything declared as ready, or in the state given for its version (``v2="loading"``)."""
    with database.writing() as connection:
        connection.execute(sa.delete(REPLICAS).where(REPLICAS.c.replica == replica))
        for row in connection.execute(sa.select(DECLARATIONS)).all():
            state = states.get(f"v{row.version[0]}", "ready")
            report = {"replica": replica, "state": state, "reason": "it is ill" if state == "refused" else ""}
            shared = {name: getattr(row, name) for name in ("model", "version", "sha256", "weight")}
            connection.execute(sa.insert(REPLICAS), report | shared | {"seen_at": replica_status.clock(connection)})


def answer(
    database: Database, requests: int, errors: int, start: float, version: str = "2.0", model: str = "sums", ms: int = 5
) -> None:
    """Count requests of a window, all equally fast (in buckets), and as many in each step of the open rollout."""
    row = {"model": model, "version": version, "replica": "one:8080", "start": int(start)}
    counts = {"requests": requests, "errors": errors}
    with database.writing() as connection:
        database.put(connection, EVIDENCE, [row | counts | {"latencies": f'{{"{ms}": {requests}}}'}])
        found = rollouts.rollout_of(connection, model)
        if found is not None and start >= WATCHED:
            tally = {"rollout": found.id, "version": version, "sticky": False, "replica": f"one {start}"}
            tally |= counts | {"shared": 0, "timed": requests, "slow": 0}
            database.put(connection, TALLIES, [tally | {"step": step} for step in range(len(found.policy.steps))])


def declared(database: Database, model: str = "sums") -> dict[str, float]:
    """Return the weight of each declared version."""
    with database.reading() as connection:
        rows = connection.execute(sa.select(DECLARATIONS).where(DECLARATIONS.c.model == model)).all()
    return {row.version: row.weight for row in rows}


def latest(database: Database, model: str = "sums") -> Rollout:
    with database.reading() as connection:
        found = rollouts.last_rollout_of(connection, model)
    assert found is not None
    return found


def good(database: Database, model: str = "sums", start: float = WATCHED) -> None:
    answer(database, 400, 1, NOW - 600, "1.0", model)  # for stable's p95
    answer(database, 5000, 20, start, "1.0", model)
    answer(database, 2000, 4, start, "2.0", model)


def bad(database: Database, model: str = "sums", start: float = WATCHED) -> None:
    good(database, model, start)
    answer(database, 2000, 100, start, "2.0", model)


def actions(database: Database, model: str = "sums") -> list[str]:
    with database.reading() as connection:
        assert audit(connection) == []
        return [entry.action for entry in ledger.entries(connection, model)]


class Releases:
    """A controller and a supervisor under a clock that a test moves."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW
        self.told: list[str] = []
        self.controller = Controller(database, Lease("controller", "test", lambda: self.now), self.told.append)

    def run(self, seconds: float, every_s: float = 2.0, **states: str) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += every_s
            supervise(self.database, **states)
            self.controller.step(self.now)
