"""Reading and writing through the store: what is missing, stale, corrected, refused, and seen by others."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from marina.database.connection import Database
from marina.features.errors import FeatureStoreAwayError, FeatureStoreError
from marina.features.store import FeatureStore, open_store
from marina.features.vectors import State
from marina.features.views import VIEWS, views_with
from marina.settings import Settings

VIEW = VIEWS["household"]
WIDTH = len(VIEW.features)
NOW = time.time()


def vector(first: float = 1.0) -> list[list[float]]:
    return [[first, float("nan"), 0.0, *range(3, WIDTH)]]


@pytest.fixture
def store(database: Database) -> FeatureStore:
    return FeatureStore(database, dict(VIEWS), cache_bytes=1 << 20)


def test_missing_is_not_zero_and_zero_is_not_missing(store: FeatureStore) -> None:
    store.write("household", ["a"], [NOW - 5], vector())
    read = store.read("household", ["a", "nobody"])
    assert list(read.states[0, :3]) == [State.FRESH, State.MISSING, State.FRESH]
    assert read.values[0, 0] == 1 and np.isnan(read.values[0, 1]) and read.values[0, 2] == 0
    assert np.isnan(read.values[1]).all() and not read.states[1].any() and np.isnan(read.event_times[1])
    assert read.record(0)["months"] == {"value": None, "state": "missing"}
    assert read.record(0)["transactions_monthly"] == {"value": 0.0, "state": "fresh"}


def test_of_no_entities_there_are_no_rows(database: Database) -> None:
    async def reads() -> None:
        async with FeatureStore(database, dict(VIEWS), sample_share=1.0) as store:
            read = await store.get("household", [])
            assert read.values.shape == read.states.shape == (0, WIDTH)
            assert store.get_historical_features("household", [], []).values.shape == (0, WIDTH)
            assert store.write("household", [], [], np.empty((0, WIDTH))).rows == 0

    asyncio.run(reads())


def test_a_vector_is_stale_after_its_ttl_and_missing_after_twice(database: Database) -> None:
    store = FeatureStore(database, views_with({"household": 100.0}))
    now = time.time()
    store.write("household", ["fresh", "stale", "gone"], [now - 20, now - 150, now - 250], vector() * 3)
    read = store.read("household", ["fresh", "stale", "gone"])
    assert read.states[:, 0].tolist() == [State.FRESH, State.STALE, State.MISSING]
    assert read.values[1, 0] == 1 and np.isnan(read.values[2]).all()
    assert read.fresh[:, 0].tolist() == [True, False, False]


def test_a_correction_is_served_and_what_was_known_before_is_not_forgotten(store: FeatureStore) -> None:
    first = store.write("household", ["a"], [NOW - 100], vector(1), known_at=NOW - 90)
    again = store.write("household", ["a"], [NOW - 100], vector(1), known_at=NOW - 80)
    corrected = store.write("household", ["a"], [NOW - 100], vector(2), known_at=NOW - 10)
    assert (first.added, again.added, corrected.added) == (1, 0, 1)
    assert store.read("household", ["a"]).values[0, 0] == 2
    asked = ["a", "a", "a"], [NOW - 95, NOW - 50, NOW]
    assert store.get_historical_features("household", *asked).values[:, 0].tolist()[1:] == [1, 2]
    assert np.isnan(store.get_historical_features("household", *asked).values[0, 0])
    assert store.get_historical_features("household", *asked, as_known_at=NOW).values[:, 0].tolist() == [2, 2, 2]
    with pytest.raises(FeatureStoreError, match="two different vectors"):
        store.write("household", ["a"], [NOW - 100], vector(3), known_at=NOW - 10)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda store: store.write("households", ["a"], [NOW], vector()), "there are code_health"),
        (lambda store: store.write("household", ["a"], [NOW + 1e6], vector()), "Events are of the past"),
        (
            lambda store: store.write("household", ["a"], [NOW - 1], [[1.0]]),
            "expected 1 event times and values of shape",
        ),
        (lambda store: store.write("household", ["a"], [NOW - 1], vector(float("inf"))), "finite float32"),
        (lambda store: store.write("household", ["a"], [NOW - 1], vector(1e39)), "finite float32"),
        (lambda store: store.write("household", ["a"], [float("nan")], vector()), "seconds since 1970"),
        (lambda store: store.write("household", [""], [NOW - 1], vector()), "is no entity"),
        (lambda store: store.write("household", ["a\0"], [NOW - 1], vector()), "is no entity"),
        (lambda store: store.write("household", ["\ud800"], [NOW - 1], vector()), "is no entity"),
        (lambda store: store.read("household", "a"), "list of entities"),
        (lambda store: store.read("household", ["a"]).record(0, ["git"]), "it has profile"),
        (lambda store: store.get_historical_features("household", ["a"], []), "a time per entity"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(
    store: FeatureStore, given: Callable[[FeatureStore], object], said: str
) -> None:
    with pytest.raises(FeatureStoreError, match=said):
        given(store)


def test_a_changed_view_does_not_meet_the_rows_of_the_old_one(database: Database, store: FeatureStore) -> None:
    store.write("household", ["a"], [NOW - 5], vector())
    changed = replace(VIEW, features=(*VIEW.features[:-1], "another"))
    later = FeatureStore(database, {**VIEWS, "household": changed})
    assert not later.read("household", ["a"]).states.any()
    later.write("household", ["a"], [NOW - 4], vector(9))
    assert store.read("household", ["a"]).values[0, 0] == 1


def test_a_write_is_read_at_once_by_its_own_process_and_soon_by_others(database: Database, store: FeatureStore) -> None:
    async def reads() -> None:
        async with store:
            assert not (await store.get("household", ["a"])).states.any()
            store.write("household", ["a"], [NOW - 5], vector(1))
            assert (await store.get("household", ["a"])).values[0, 0] == 1
            FeatureStore(database, dict(VIEWS)).write("household", ["a"], [NOW - 4], vector(2))
            end = time.monotonic() + 10
            while (await store.get("household", ["a"])).values[0, 0] != 2:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
            assert store.reads["cache"] > 0

    asyncio.run(reads())


def test_many_are_written_and_joined(store: FeatureStore) -> None:
    names = [f"h{number}" for number in range(2500)]
    written = store.write("household", names, [NOW - 9] * 2500, vector() * 2500)
    assert (written.rows, written.added, written.online) == (2500, 2500, True)
    assert store.write("household", names, [NOW - 9] * 2500, vector() * 2500).added == 0
    joined = store.get_historical_features("household", names[::-1], [time.time() + 60] * 2500)
    assert (joined.values[:, 0] == 1).all() and list(joined.entities) == names[::-1]


def test_without_the_database_reads_and_writes_say_so(tmp_path: object) -> None:
    store = FeatureStore(Database("postgresql://nobody@127.0.0.1:1/none"), dict(VIEWS))
    with pytest.raises(FeatureStoreAwayError, match="MARINA_DATABASE_URL"):
        store.write("household", ["a"], [NOW - 5], vector())

    async def reads() -> None:
        async with store:
            with pytest.raises(FeatureStoreAwayError, match="asked again"):
                await store.get("household", ["a"])

    asyncio.run(reads())


def test_the_settings_describe_a_store_that_needs_no_redis(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(state_dir=tmp_path, ml_feature_ttl_s={"household": 7.0})  # type: ignore[arg-type]
    store = open_store(settings)
    assert store.views["household"].ttl_s == 7 and store.write("household", ["a"], [NOW - 5], vector()).online
    with pytest.raises(FeatureStoreError, match="names no view: houses"):
        open_store(Settings(state_dir=tmp_path, ml_feature_ttl_s={"houses": 7.0}))  # type: ignore[arg-type]
