"""What open rollouts' versions met is counted once: in all, by whether there was a session, and by client."""

from typing import Any

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import CLIENTS, LOOKS, ROLLOUTS, TALLIES
from marina.events import client_tallies
from marina.events.access_log import Request
from marina.events.client_tallies import COUNTS, Watch, client_of, forget_ended, read_watched
from marina.events.latency_histogram import bucket

SINCE = 1_000_000
FAST = Request("m", "2.0", SINCE + 1.0, failed=False, shared=False, slot=bucket(5), answered=True, session="")
POLICY = '{"gates": {"latency": {"margin_ms": 50}}}'


def begin(database: Database, **changes: Any) -> None:
    row = {
        "id": 7, "model": "m", "stable": "1.0", "canary": "2.0", "phase": "watching", "step": 0, "paused": False,
        "policy": POLICY, "stable_p95_ms": 20.0, "started_by": "ann", "started_at": SINCE - 60.0,
        "watched_since": SINCE, "phase_since": SINCE - 3.0, "ended_at": None, "note": "",
    }  # fmt: skip
    with database.writing() as connection:
        connection.execute(sa.delete(ROLLOUTS))
        connection.execute(sa.insert(ROLLOUTS), row | changes)


def add(database: Database, *requests: Request, watch: Watch | None = None, replica: str = "here") -> None:
    with database.writing() as connection:
        (watch or Watch()).add(connection, replica, requests)


def one(**changes: Any) -> Request:
    return FAST._replace(**changes)


def rows(database: Database, table: sa.Table, *keys: str) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Return requests, errors, shared, timed and slow by some columns."""
    with database.reading() as connection:
        found = connection.execute(sa.select(table)).all()
    return {tuple(getattr(row, key) for key in keys): tuple(getattr(row, name) for name in COUNTS) for row in found}


def test_requests_are_counted_by_version_and_session_and_those_of_others_are_not(database: Database) -> None:
    begin(database)
    add(
        database,
        one(), one(failed=True), one(version="1.0"), one(session="ann"), one(session="ann", failed=True),
        one(session="bob", failed=True, shared=True), one(version="3.0"), one(model="other"), one(time=SINCE - 1.0),
    )  # fmt: skip
    assert rows(database, TALLIES, "version", "sticky") == {
        ("2.0", False): (2, 1, 0, 2, 0),
        ("1.0", False): (1, 0, 0, 1, 0),
        ("2.0", True): (3, 1, 1, 3, 0),
    }
    assert rows(database, CLIENTS, "version", "client") == {
        ("2.0", client_of("ann")): (2, 1, 0, 2, 0),
        ("2.0", client_of("bob")): (1, 0, 1, 1, 0),
    }


def test_counts_of_batches_and_replicas_add_up(database: Database) -> None:
    begin(database)
    watch = Watch()
    for replica in ("here", "there"):
        add(database, one(session="ann"), one(session="bob"), watch=watch, replica=replica)
        add(database, one(session="ann", failed=True), watch=watch, replica=replica)
    assert rows(database, CLIENTS, "client") == {
        (client_of("ann"),): (4, 2, 0, 4, 0),
        (client_of("bob"),): (2, 0, 0, 2, 0),
    }
    assert rows(database, TALLIES, "replica") == {("here",): (3, 1, 0, 3, 0), ("there",): (3, 1, 0, 3, 0)}


@pytest.mark.parametrize(
    ("changes", "timed", "slow"),
    [
        ({"slot": bucket(70)}, 1, 0),  # stable's p95 and the margin
        ({"slot": bucket(80)}, 1, 1),
        ({"slot": bucket(30), "answered": False}, 0, 0),  # who left then had no fast answer
        ({"slot": bucket(80), "answered": False}, 1, 1),  # it was slow when they left
        ({"slot": None}, 0, 0),
    ],
)
def test_slow_is_what_took_longer_or_had_already_when_the_client_left(
    changes: dict[str, Any], timed: int, slow: int, database: Database
) -> None:
    begin(database)
    add(database, one(**changes))
    assert rows(database, TALLIES) == {(): (1, 0, 0, timed, slow)}


def test_nothing_is_slow_or_fast_while_stables_p95_is_not_known(database: Database) -> None:
    begin(database, stable_p95_ms=None)
    add(database, one(slot=bucket(900)))
    assert rows(database, TALLIES) == {(): (1, 0, 0, 0, 0)}


def test_each_step_begins_with_the_first_whole_window_after_it(database: Database) -> None:
    begin(database, step=1, phase_since=SINCE + 92.0)
    add(database, one(time=SINCE + 94.9, session="ann"), one(time=SINCE + 95.0, session="ann"))
    assert rows(database, CLIENTS, "step") == {(1,): (1, 0, 0, 1, 0)}


@pytest.mark.parametrize(
    "changes", [{"phase": "deploying", "watched_since": None}, {"phase": "shadow"}, {"ended_at": 9.0}]
)
def test_where_no_canary_has_traffic_nothing_is_kept_of_clients(changes: dict[str, Any], database: Database) -> None:
    begin(database, **changes)
    add(database, one(session="ann"))
    assert rows(database, TALLIES) == rows(database, CLIENTS) == {}


def test_of_very_many_clients_fewer_and_fewer_are_counted_by_their_hash(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_tallies, "MOST_CLIENTS", 100)
    begin(database)
    watch = Watch()
    for batch in range(80):
        some = [one(session=f"{batch} {place}", version=("1.0", "2.0")[place % 2]) for place in range(50)]
        add(database, *some, watch=watch)
    kept = rows(database, CLIENTS, "version", "client")
    assert 300 < len(kept) < 700  # of 4,000
    late = {client_of(f"79 {place}") for place in range(50)}
    assert {client & 3 for _, client in kept if client in late} <= {0}
    assert abs(sum(version == "1.0" for version, _ in kept) / len(kept) - 0.5) < 0.1
    assert sum(counts[0] for counts in rows(database, TALLIES, "version").values()) == 4000


def test_keys_are_not_kept(database: Database) -> None:
    begin(database)
    add(database, one(session="ann@example.com"))
    with database.reading() as connection:
        [row] = connection.execute(sa.select(CLIENTS)).all()
    assert row.client == client_of("ann@example.com") and "ann" not in str(tuple(row))
    assert client_of("é" * 300) == client_of("é" * 256)


def test_clients_are_forgotten_when_their_rollout_is_over(database: Database) -> None:
    begin(database)
    add(database, one(session="ann"), one())
    with database.writing() as connection:
        connection.execute(
            sa.insert(LOOKS),
            {"rollout": 7, "step": 0, "gate": "errors", "number": 0, "time": 1.0, "seen": "{}"},
        )
    assert sum(forget_ended(database)) == 0
    begin(database, ended_at=SINCE + 50.0)
    assert sum(forget_ended(database)) == 4
    assert rows(database, CLIENTS) == rows(database, TALLIES) == {}


def test_rollouts_are_watched_from_their_canarys_first_whole_window_on(database: Database) -> None:
    begin(database)
    with database.reading() as connection:
        assert read_watched(connection) == {
            "m": client_tallies.Watched(7, 0, frozenset({"1.0", "2.0"}), SINCE, bucket(70.0))
        }
