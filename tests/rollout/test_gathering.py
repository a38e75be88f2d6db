"""What the judge is told is what was logged, each request and label once, however late."""

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from events import latencies
from events.database import Database
from events.tables import EVIDENCE, LABELS, PREDICTIONS, ROLLOUTS, SHADOW_PAIRS
from rollout import gathering
from rollout.evidence import Arm, Evidence, Pairs
from rollout.gathering import AGAIN_S, SETTLED_S, Gatherer, gather, stable_p95
from rollout.policy import read_policy
from rollout.rollouts import Rollout

START = 1_700_000_000
ROLLOUT = Rollout(
    id=7, model="m", stable="1.0", canary="2.0", phase="watching", step=0, paused=False, policy=read_policy(),
    stable_p95_ms=20.0, started_by="ada", started_at=START - 60.0, watched_since=float(START),
    phase_since=float(START), ended_at=None, note="",
)  # fmt: skip


def window(
    start: int, version: str, requests: int, errors: int = 0, ms: float = 10.0, **changes: Any
) -> dict[str, Any]:
    counts = latencies.to_json({latencies.bucket(ms): requests})
    row = {"model": "m", "version": version, "replica": "a", "start": start, "requests": requests, "errors": errors}
    return row | {"latencies": counts} | changes


def answer(request: str, version: str, label: str | None, time: float = START + 1.0, **changes: Any) -> dict[str, Any]:
    row = {"request_id": request, "model": "m", "version": version, "instance": 0, "time": time, "picked": True}
    return row | {"label": label, "answer": "[]"} | changes


def label(request: str, text: str, time: float = START + 1.0, instance: int = 0) -> dict[str, Any]:
    return {"request_id": request, "instance": instance, "label": text, "time": time}


def pair(request: str, stable: str | None, shadow: str | None, time: float = START - 100.0) -> dict[str, Any]:
    row = {"request_id": request, "model": "m", "shadow": "2.0", "instance": 0, "stable": "1.0", "time": time}
    return row | {"status": 200 if shadow else 503, "stable_label": stable, "shadow_label": shadow}


def put(database: Database, table: sa.Table, *rows: dict[str, Any]) -> None:
    with database.writing() as connection:
        for row in rows:
            connection.execute(sa.insert(table), row)


def gathered(database: Database, rollout: Rollout = ROLLOUT) -> Evidence:
    with database.reading() as connection:
        return gather(connection, rollout)


def test_windows_of_every_replica_add_up_and_those_before_do_not(database: Database) -> None:
    put(
        database, EVIDENCE,
        window(START - 5, "1.0", 1000, 999),
        window(START, "1.0", 90, 2), window(START + 5, "1.0", 10, replica="b"),
        window(START, "2.0", 5, 1), window(START, "2.0", 4, ms=80.0, replica="b"),
        window(START, "3.0", 50, 50), window(START, "1.0", 50, 50, model="other"),
    )  # fmt: skip
    assert gathered(database) == Evidence(Arm(100, 2, 100, 0), Arm(9, 1, 9, 4), shared_s=5.0)


def test_slow_is_beyond_stables_p95_and_the_margin(database: Database) -> None:
    put(database, EVIDENCE, window(START, "2.0", 3, ms=69.0), window(START + 5, "2.0", 2, ms=73.0))
    assert gathered(database).canary == Arm(5, 0, 5, 2)
    unknown = gathered(database, dataclasses.replace(ROLLOUT, stable_p95_ms=None)).canary
    assert unknown == Arm(5, 0, 0, 0)


def test_labels_count_for_the_answers_that_the_gateway_gave(database: Database) -> None:
    put(
        database, PREDICTIONS,
        answer("a", "1.0", "cat"), answer("b", "1.0", "cat"), answer("c", "2.0", "cat"), answer("d", "2.0", "cat"),
        answer("asked", "2.0", "cat", picked=False), answer("number", "2.0", None),
        answer("before", "2.0", "dog", START - 1.0), answer("unlabelled", "2.0", "cat"),
        answer("d", "2.0", "cat", instance=1), answer("a", "1.0", "cat", model="other"),
    )  # fmt: skip
    names = ("a", "b", "c", "asked", "number", "before")
    put(database, LABELS, *(label(one, "dog" if one == "b" else "cat") for one in names))
    put(database, LABELS, label("d", "dog"), label("d", "cat", instance=1), label("nobody", "cat"))
    assert gathered(database) == Evidence(Arm(labelled=2, right=1), Arm(labelled=3, right=2))


def test_pairs_count_since_the_last_change_of_stable(database: Database) -> None:
    put(
        database, SHADOW_PAIRS,
        pair("worse", "cat", "dog"), pair("better", "dog", "cat"), pair("same", "cat", "cat"),
        pair("wrong", "dog", "cow"), pair("failed", "cat", None), pair("old", "cat", "dog", START - 1000.0),
    )  # fmt: skip
    put(database, LABELS, *(label(one, "cat") for one in ("worse", "better", "same", "wrong", "failed", "old")))
    assert gathered(database).pairs == Pairs(worse=2, same=2, better=1)
    past = {name: getattr(ROLLOUT, name) for one in ROLLOUTS.c if (name := one.name) not in ("id", "policy")}
    past |= {"policy": "", "phase": "done"}
    put(database, ROLLOUTS, past | {"ended_at": START - 50.0})  # a shadow of the same two: its pairs are what counts
    put(database, ROLLOUTS, past | {"stable": "0.9", "canary": "1.0", "ended_at": START - 500.0})
    put(database, ROLLOUTS, past | {"model": "other", "canary": "8.0", "ended_at": START - 50.0})
    assert gathered(database).pairs == Pairs(worse=1, same=2, better=1)


def test_before_the_watch_only_pairs_count(database: Database) -> None:
    put(database, EVIDENCE, window(START, "1.0", 90))
    put(database, SHADOW_PAIRS, pair("a", "cat", "dog"))
    put(database, LABELS, label("a", "cat"))
    assert gathered(database, dataclasses.replace(ROLLOUT, watched_since=None)) == Evidence(pairs=Pairs(worse=1))


@pytest.mark.parametrize("pause", [AGAIN_S, 5 * AGAIN_S])
def test_gathering_again_and_again_counts_as_gathering_once(
    pause: float, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "AGAIN_S", pause)
    gatherer, now = Gatherer(), float(START)

    def again() -> Evidence:
        with database.reading() as connection:
            return gatherer.gather(connection, ROLLOUT, now)

    for turn in range(40):
        now += 11.0
        put(database, EVIDENCE, window(int(now), "1.0", 5, turn % 2), window(int(now), "2.0", 1))
        put(database, PREDICTIONS, answer(f"r{turn}", "2.0", "cat", now))
        put(database, SHADOW_PAIRS, pair(f"r{turn}", "cat", "dog", now))
        put(database, LABELS, label(f"r{turn}", "cat", now))
        assert again() == gathered(database)

    # What comes late is there at the next whole count: a window, a label's prediction.
    put(database, EVIDENCE, window(START + 1, "2.0", 100, replica="late"))
    put(database, LABELS, label("late", "cat", START + 2.0))
    put(database, PREDICTIONS, answer("late", "2.0", "cat"))
    now += SETTLED_S + pause
    assert again() == gathered(database)


def test_another_p95_or_another_rollout_is_counted_anew(database: Database) -> None:
    put(database, EVIDENCE, window(START, "2.0", 3, ms=60.0))
    gatherer = Gatherer()
    with database.reading() as connection:
        for changed in ({}, {"stable_p95_ms": 5.0}, {"id": 8, "canary": "3.0"}):
            rollout = dataclasses.replace(ROLLOUT, **changed)
            assert gatherer.gather(connection, rollout, START + 500.0) == gather(connection, rollout)
            assert gatherer.gather(connection, rollout, START + 1.0) == gather(connection, rollout)  # the clock was set


def test_stables_p95_is_known_from_200_requests_on(database: Database) -> None:
    put(database, EVIDENCE, window(START - 5, "1.0", 500, ms=900.0), window(START, "1.0", 190, ms=10.0))

    def p95() -> float | None:
        with database.reading() as connection:
            return stable_p95(connection, "m", "1.0", START)

    assert p95() is None
    put(database, EVIDENCE, window(START + 5, "1.0", 10, ms=100.0))
    assert p95() == pytest.approx(10, rel=0.011)
    put(database, EVIDENCE, window(START + 10, "1.0", 1, ms=100.0))
    assert p95() == pytest.approx(100, rel=0.011)
