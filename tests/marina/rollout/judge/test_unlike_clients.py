"""Clients are unlike, and one of them may be of ill will: releases are decided by what the versions do."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from benchmarks.judge_clients import Case, simulate, upper_bound
from marina.database.connection import Database
from marina.database.tables import LOOKS
from marina.events.access_log import Request
from marina.events.client_tallies import Watch
from marina.events.latency_histogram import bucket
from marina.releases.lease import Lease
from marina.rollout import verdicts
from marina.rollout.controller import Controller
from marina.rollout.judge.decision import GATES
from marina.rollout.judge.evidence import Evidence
from marina.rollout.policy.schema import read_policy
from tests.marina.rollout.releases import Releases, answer, begin, latest

POLICY = read_policy()
ALPHA = POLICY.false_alarm_rate / len(GATES)
FAILS = Callable[[str, str], float]
"""Client and version, to the share of the requests that fails."""


class Traffic:
    """Clients of a rollout's model, each on one version, as the collector adds them up."""

    def __init__(self, releases: Releases, clients: int, share: float, fails: FAILS) -> None:
        self._releases = releases
        self._watch = Watch()
        self._chance = random.Random(1)
        self._fails = fails
        self.clients = {f"client {number}": "2.0" if number < share * clients else "1.0" for number in range(clients)}
        self._often = [self._chance.paretovariate(1.2) for _ in self.clients]

    def _requests(self, count: int) -> Iterator[Request]:
        for client in self._chance.choices(list(self.clients), self._often, k=count):
            yield self.request(client)

    def request(self, client: str) -> Request:
        version = self.clients[client]
        failed = self._chance.random() < self._fails(client, version)
        return Request("sums", version, self._releases.now, failed, False, bucket(5), not failed, client)

    def run(self, seconds: float, per_s: int = 100, more: Callable[[], list[Request]] = list) -> None:
        end = self._releases.now + seconds
        while self._releases.now < end:
            with self._releases.database.writing() as connection:
                self._watch.add(connection, "one:8080", [*self._requests(2 * per_s), *more()])
            self._releases.run(2)


def watched(releases: Releases, **changes: Any) -> None:
    """Bring a canary so far that it is watched, stable's p95 being known."""
    answer(releases.database, 400, 1, releases.now - 600, "1.0")
    begin(releases.database, **changes)
    releases.run(9)
    assert latest(releases.database).phase == "watching"


def last(database: Database) -> Evidence:
    with database.reading() as connection:
        kept = verdicts.last(connection, latest(database).id)
    assert kept is not None
    return kept.counts()


def test_one_client_that_fails_on_the_canary_vetoes_no_release(releases: Releases) -> None:
    watched(releases)
    traffic = Traffic(releases, 400, 0.05, lambda client, _: client == "client 0")
    traffic.run(90, more=lambda: [traffic.request("client 0")] * 40)  # and asks a lot
    evidence = last(releases.database)
    assert latest(releases.database).phase == "watching" and evidence.canary.errors > 1000
    assert evidence.looks["errors"].canary.clients == 20


def test_a_canary_that_fails_its_clients_is_rolled_back_whatever_some_clients_do(releases: Releases) -> None:
    watched(releases)
    spoilt = {
        "client 0",
        *(f"client {number}" for number in range(390, 400)),
    }  # fail everywhere, most of them on stable
    traffic = Traffic(
        releases, 400, 0.05, lambda client, version: 1.0 if client in spoilt else 0.08 if version == "2.0" else 0.002
    )
    traffic.run(120, more=lambda: [traffic.request("client 399")] * 40)
    assert latest(releases.database).phase == "rolled back" and "errors: canary" in latest(releases.database).note
    with releases.database.reading() as connection:
        assert verdicts.replay(connection, latest(releases.database)).faults == []


def test_a_look_that_was_taken_stands_for_the_next_controller_too(releases: Releases) -> None:
    watched(releases)
    traffic = Traffic(releases, 400, 0.05, lambda *_: 0.002)
    traffic.run(20)
    with releases.database.reading() as connection:
        before = connection.execute(sa.select(LOOKS).order_by(LOOKS.c.gate)).all()
    assert {row.gate for row in before} == {"errors", "latency"}
    releases.now += 60
    lease = Lease("controller", "another", lambda: releases.now)
    releases.controller = Controller(releases.database, lease, releases.told.append)
    releases.run(8)
    with releases.database.reading() as connection:
        assert connection.execute(sa.select(LOOKS).order_by(LOOKS.c.gate)).all() == before
    assert last(releases.database).looks["errors"].number == before[0].number


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "rollouts"),
    [
        (Case("errors", 400, 0.02, 0.3), 2000),
        (Case("errors", 20_000, 0.05, 0.1), 400),
        (Case("errors", 400, 0.05, 0.9, stand_in="again"), 2000),
        (Case("latency", 50, 0.05, 0.9), 2000),
        (Case("accuracy", 2_000, 0.05, 0.9), 2000),
    ],
    ids=lambda value: f"{value.kind} {value.clients}" if isinstance(value, Case) else str(value),
)
def test_of_versions_that_are_alike_few_are_rolled_back_however_unlike_clients_are(case: Case, rollouts: int) -> None:
    found = simulate(case, rollouts, POLICY)
    hits = int(np.isfinite(found.crowd).sum())
    assert upper_bound(hits, rollouts) < ALPHA
    assert np.isfinite(found.harm).sum() <= hits


@pytest.mark.slow
def test_a_canary_that_fails_one_request_in_twenty_is_caught_in_minutes_among_400_unlike_clients() -> None:
    found = simulate(Case("errors", 400, 0.02, 0.3, harm=0.05), 60, POLICY)
    assert np.median(found.harm) < 300
