"""The store against an oracle that looks through a list: late, repeated, corrected and out-of-order events."""

import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marina.database.connection import Database
from marina.features.store import FeatureStore
from marina.features.views import VIEWS
from tests import redis

VIEW = VIEWS["household"]
BASE = float(round(time.time()) - 100_000)


@dataclass(frozen=True)
class Event:
    entity: str
    event: int
    value: float


def oracle(told: list[tuple[Event, int]], entity: str, at: int | None, known_at: int | None) -> float:
    """Look at every event told so far, and remember the newest of those that count."""
    best: tuple[int, int] | None = None
    value = float("nan")
    for event, known in told:
        if event.entity != entity:
            continue
        if at is not None and event.event > at:
            continue
        if known_at is not None and known > known_at:
            continue
        if best is None or (event.event, known) > best:
            best, value = (event.event, known), event.value
    return value


EVENTS = st.lists(
    st.builds(Event, st.sampled_from("abc"), st.integers(1, 12), st.sampled_from([0.0, -0.0, 1.5, float("nan"), 3.0])),
    min_size=1,
    max_size=14,
)


def row(value: float) -> list[float]:
    return [value, *range(1, len(VIEW.features))]


def check(store: FeatureStore, events: list[Event], prefix: str) -> None:
    told: list[tuple[Event, int]] = []
    for step, event in enumerate(events):
        known = 12 + step  # told one after the other, each late by as much as its event lies back
        store.write(VIEW.name, [prefix + event.entity], [BASE + event.event], [row(event.value)], BASE + known)
        told.append((event, known))
        if step % 3 == 0:  # sent twice
            again = store.write(
                VIEW.name, [prefix + event.entity], [BASE + event.event], [row(event.value)], BASE + known
            )
            assert again.added == 0
    newest = store.read(VIEW.name, [prefix + entity for entity in "abc"])
    expected = [oracle(told, entity, None, None) for entity in "abc"]
    assert newest.values[:, 0].tobytes() == np.array(expected, np.float32).tobytes()  # -0.0 is not 0.0
    asked = [(entity, at) for entity in "abc" for at in range(0, 12 + len(events) + 1)]
    entities, times = [prefix + entity for entity, _ in asked], [BASE + at for _, at in asked]
    joined = store.get_historical_features(VIEW.name, entities, times).values[:, 0]
    expected = [oracle(told, entity, at, at) for entity, at in asked]
    assert joined.tobytes() == np.array(expected, np.float32).tobytes()
    known_at = 12 + len(events) // 2
    joined = store.get_historical_features(VIEW.name, entities, times, BASE + known_at).values[:, 0]
    expected = [oracle(told, entity, at, known_at) for entity, at in asked]
    assert joined.tobytes() == np.array(expected, np.float32).tobytes()


@pytest.mark.parametrize("online", ["redis", "database"])
def test_every_answer_is_the_oracles(database: Database, online: str, request: pytest.FixtureRequest) -> None:
    url = ""
    if online == "redis":
        server: redis.Redis = request.getfixturevalue("redis_server")
        url = server.url
        with server.client() as client:
            client.flushall()
    store, examples = FeatureStore(database, dict(VIEWS), url), iter(range(10**6))
    store.refill(VIEW.name)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(EVENTS)
    def holds(events: list[Event]) -> None:
        check(store, events, f"{next(examples)} ")

    holds()
    assert (store.refill(VIEW.name) == 0) or not url  # Redis held the newest of each already
