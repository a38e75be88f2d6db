"""What was served is compared with the as-of join: equal, a moment behind, or not at all."""

import asyncio
import time

import numpy as np
import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.feature_tables import FEATURE_SAMPLES
from marina.features import parity, samples
from marina.features.store import FeatureStore
from marina.features.vectors import pack
from marina.features.views import VIEWS
from marina.monitoring.feature_metrics import collect_features

VIEW = VIEWS["household"]
WIDTH = len(VIEW.features)
NOW = time.time()


def serve(database: Database, served: float, data: bytes | None, entity: str = "a") -> None:
    samples.keep(database, [samples.Sample(VIEW.name, VIEW.schema, entity, round(served * 1e6), data)])


def packed(event: float, known: float, value: float) -> bytes:
    events = np.array([round(event * 1e6)])
    return pack(VIEW, np.full((1, WIDTH), value), events, round(known * 1e6))[0]


@pytest.fixture
def written(database: Database) -> Database:
    store = FeatureStore(database, dict(VIEWS))
    store.write(VIEW.name, ["a"], [NOW - 1000], [[1.0] * WIDTH], known_at=NOW - 900)
    store.write(VIEW.name, ["a"], [NOW - 800], [[2.0] * WIDTH], known_at=NOW - 700)
    return database


def test_what_was_served_is_what_was_known(written: Database) -> None:
    serve(written, NOW - 950, None)
    serve(written, NOW - 850, packed(NOW - 1000, NOW - 900, 1))
    serve(written, NOW - 690, packed(NOW - 1000, NOW - 900, 1))  # the second write was on its way
    serve(written, NOW - 690, packed(NOW - 800, NOW - 700, 2))
    found = {one.view: one for one in parity.check(written, VIEWS)}["household"]
    assert (found.samples, found.behind, found.differing) == (4, 1, 0)
    assert {one.view: one.samples for one in parity.check(written, VIEWS)}["household"] == 0  # each once


def test_any_other_bit_is_a_difference_that_is_told(written: Database) -> None:
    serve(written, NOW - 850, packed(NOW - 1000, NOW - 900, np.nextafter(np.float32(1), np.float32(2))))
    serve(written, NOW - 600, packed(NOW - 1000, NOW - 900, 1))  # long since outdated
    serve(written, NOW - 600, None)
    found = {one.view: one for one in parity.check(written, VIEWS)}["household"]
    assert (found.samples, found.behind, found.differing) == (3, 0, 3)
    assert found.details[1]["entity"] == "a" and found.details[2]["served_event"] is None
    with written.reading() as connection:
        lines = "".join("".join(family) for family in collect_features(connection, time.time()))
    assert 'marina_feature_parity_differing{view="household"} 3' in lines
    assert 'marina_feature_parity_differing{view="code_health"} 0' in lines


def test_what_is_past_keeping_is_none_in_both(written: Database) -> None:
    later = NOW + 3 * VIEW.ttl_s
    serve(written, later, None)
    one = samples.Sample(VIEW.name, VIEW.schema, "a", round(later * 1e6), None)
    offline = FeatureStore(written, dict(VIEWS)).offline
    assert parity._compare(offline, VIEW, ["a"], np.array([one.served]), [None]) == (0, [])


def test_reads_are_sampled_and_compared_daily(database: Database) -> None:
    async def reads() -> None:
        async with FeatureStore(database, dict(VIEWS), sample_share=1.0) as store:
            store.write(VIEW.name, ["a"], [NOW - 1000], [[1.0] * WIDTH])
            for _ in range(5):
                await store.get(VIEW.name, ["a", "b"])

    asyncio.run(reads())
    with database.writing() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(FEATURE_SAMPLES)) == 5
        older = FEATURE_SAMPLES.c.served - 60_000_000
        connection.execute(sa.delete(FEATURE_SAMPLES).where(FEATURE_SAMPLES.c.entity == "a"))
        connection.execute(sa.update(FEATURE_SAMPLES).values(served=older))
    assert [one.differing for one in parity.check_daily(database, VIEWS)] == [0, 0, 0]
    assert parity.check_daily(database, VIEWS) == []
