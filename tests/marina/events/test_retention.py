"""What is too old goes, and nothing else."""

import itertools
from collections.abc import Generator, Iterable, Mapping
from typing import cast

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import (
    EARLY_LABELS,
    EVIDENCE,
    INPUTS,
    LABELS,
    POSITIONS,
    PREDICTIONS,
    REPLICAS,
    ROLLOUTS,
    SHADOW_PAIRS,
)
from marina.events import access_log
from marina.events.offsets import of_retention, of_shadow
from marina.events.retention import BEFORE_S, forget
from marina.events.retention_horizon import DAY_S

NOW = 1_000 * DAY_S
AGING = (PREDICTIONS, INPUTS, LABELS, SHADOW_PAIRS, EVIDENCE, REPLICAS)


def write(database: Database, ages: Iterable[int], *models: str, now: float = NOW) -> None:
    """Write a row of everything for each age in days, which is a second less."""
    with database.writing() as connection:
        for at, model in itertools.product(ages, models or ("m",)):
            time = now - at * DAY_S + 1
            asked = {"request_id": f"{model} {at} {now}", "model": model, "version": f"{at % 2}", "time": time}
            database.add_new(connection, PREDICTIONS, [asked | {"instance": 0, "picked": True, "answer": "{}"}])
            database.add_new(connection, INPUTS, [asked | {"content_type": "", "body": b""}])
            label = {"request_id": asked["request_id"], "instance": 0, "label": "", "time": time}
            database.add_new(connection, LABELS, [label])
            pair = {"request_id": asked["request_id"], "model": model, "time": time, "instance": 0, "status": 200}
            database.add_new(connection, SHADOW_PAIRS, [pair | {"shadow": "2", "stable": "1"}])
            access_log.add_windows(
                database, connection, "here", {access_log.Key(model, "1", int(time)): access_log.Window(1)}
            )
            report = {"replica": f"{at} {now}", "model": model, "version": "1", "sha256": "", "state": "ready"}
            database.add_new(connection, REPLICAS, [report | {"reason": "", "weight": 1.0, "seen_at": time}])


def left(database: Database) -> dict[str, int]:
    with database.reading() as connection:
        return {one.name: connection.scalar(sa.select(sa.func.count()).select_from(one)) or 0 for one in AGING}


def run(database: Database, now: float = NOW, days: float = 30, input_days: float = 7) -> str:
    """Come to the end of one run; return what it told."""
    told: list[str] = []
    list(forget(database, now, days, input_days, told.append))
    return "; ".join(told)


def settled(database: Database, now: float = NOW, days: float = 30, input_days: float = 7) -> dict[str, int]:
    """Run until nothing more goes; return what is left."""
    before: Mapping[str, int] = {}
    while (after := left(database)) != before:
        before = after
        run(database, now, days, input_days)
    return after


def reached(database: Database, kind: str) -> float:
    with database.reading() as connection:
        position = sa.select(POSITIONS.c.position).where(POSITIONS.c.source == of_retention(kind))
        return int(connection.execute(position).scalar_one()) / 1000


def opened(database: Database, model: str, **values: object) -> None:
    row = {"model": model, "stable": "1", "canary": "2", "phase": "watching", "step": 0, "paused": True}
    row |= {"policy": "{}", "started_by": "me", "started_at": 0.0, "phase_since": 0.0, "note": ""}
    with database.writing() as connection:
        connection.execute(sa.insert(ROLLOUTS).values(**{**row, **values}))


def test_what_is_too_old_is_deleted_in_small_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marina.events.retention.BATCH_ROWS", 10)
    monkeypatch.setattr("marina.events.retention_horizon.PACE_S", 1_000 * DAY_S)
    write(database, range(60))
    with database.writing() as connection:
        for at in range(60):
            places = {of_shadow("m", f"{at // 10}"): int((NOW - at * DAY_S + 1) * 1000), f"folder spool 7-{at}": at}
            rows = [{"source": source, "position": position} for source, position in places.items()]
            database.add_new(connection, POSITIONS, rows)
    assert max(forget(database, NOW, retention_days=30, input_retention_days=7)) == 10
    with database.reading() as connection:
        shadows = sa.select(sa.func.count()).where(POSITIONS.c.source.startswith("shadow/"))
        assert connection.execute(shadows).scalar_one() == 4
        assert connection.execute(sa.select(sa.func.count()).select_from(POSITIONS)).scalar_one() == 4 + 60 + 2
    kept = left(database)
    assert kept.pop("inputs") == 8
    assert set(kept.values()) == {31}


@pytest.mark.parametrize("off_days", [100, 44, -100])
def test_a_clock_that_is_wrong_deletes_nothing(database: Database, off_days: float) -> None:
    write(database, range(30))
    before = left(database)
    for _ in range(3):
        told = run(database, NOW + off_days * DAY_S, days=90, input_days=90)
        assert bool(told) == (off_days > 45)
    assert left(database) == before


def test_rows_of_a_clock_that_is_ahead_cost_a_day_of_the_oldest_a_run(database: Database) -> None:
    write(database, range(30))
    write(database, [0], now=NOW + 100 * DAY_S)
    run(database, NOW + 100 * DAY_S, days=90, input_days=60)
    assert left(database)["predictions"] == 30
    assert settled(database, days=90, input_days=60)["predictions"] == 30  # the clock is right again


def test_a_run_goes_a_day_beyond_the_last_one_that_came_to_its_end(database: Database) -> None:
    write(database, range(40))
    run(database)
    assert left(database)["predictions"] == 39
    interrupted = cast(Generator[int, None, None], forget(database, NOW, 30, 7))
    next(interrupted)
    interrupted.close()
    run(database)
    assert (left(database)["predictions"], reached(database, "rows")) == (38, NOW - 37 * DAY_S + 1)
    with database.writing() as connection:
        for table, time in ((EVIDENCE, EVIDENCE.c.start), (REPLICAS, REPLICAS.c.seen_at)):
            connection.execute(sa.delete(table).where(time < NOW - 34 * DAY_S))
        for table in (PREDICTIONS, LABELS, SHADOW_PAIRS):
            connection.execute(sa.delete(table).where(table.c.time < NOW - 34 * DAY_S))
    run(database)  # for days without rows nothing is waited
    assert reached(database, "rows") == NOW - 33 * DAY_S + 1
    assert settled(database)["predictions"] == 31


def test_early_labels_go_after_a_day(database: Database) -> None:
    write(database, [0, 1])
    with database.writing() as connection:
        row = {"instance": 0, "source": "", "label": "cat"}
        for hours in (2, 23, 25, 30):
            early = row | {"request_id": f"{hours}", "time": NOW + 1 - 3600 * hours}
            database.add_new(connection, EARLY_LABELS, [early])
    run(database)
    with database.reading() as connection:
        assert sorted(connection.execute(sa.select(EARLY_LABELS.c.request_id)).scalars()) == ["2", "23"]


def test_a_quiet_day_is_nothing_to_be_told_of(database: Database) -> None:
    write(database, [0])
    early = {"request_id": "a", "instance": 0, "source": "", "label": "cat", "time": NOW}
    with database.writing() as connection:
        database.add_new(connection, EARLY_LABELS, [early])
    assert run(database, now=NOW + 13 * 3600) == ""
    assert "clock" in run(database, now=NOW + 20 * DAY_S)


def test_an_empty_database_has_nothing_to_delete(database: Database) -> None:
    assert run(database) == ""
    assert set(left(database).values()) == {0}


def test_what_open_rollouts_are_judged_by_stays(database: Database) -> None:
    """Of its model since the hour before it began, pairs since the last one of other versions, labels since then."""
    write(database, range(25), "m", "other")
    opened(database, "m", canary="9", phase="done", started_at=NOW - 25 * DAY_S, ended_at=NOW - 20 * DAY_S)
    opened(database, "m", phase="done", started_at=NOW - 18 * DAY_S, ended_at=NOW - 16 * DAY_S)  # its own shadow
    began = NOW - 16 * DAY_S + BEFORE_S + 1
    opened(database, "m", started_at=began, watched_since=began + 60)
    settled(database, days=12)
    with database.reading() as connection:
        kept = {
            (table.name, model): connection.scalar(sa.select(sa.func.count()).where(table.c.model == model))
            for table in (PREDICTIONS, EVIDENCE, SHADOW_PAIRS)
            for model in ("m", "other")
        }
        labels = connection.scalar(sa.select(sa.func.count()).select_from(LABELS))
    assert kept == {
        ("predictions", "m"): 17, ("predictions", "other"): 13, ("evidence", "m"): 17, ("evidence", "other"): 13,
        ("shadow_pairs", "m"): 21, ("shadow_pairs", "other"): 13,
    }  # fmt: skip
    assert labels == 2 * 21
    with database.writing() as connection:
        connection.execute(sa.update(ROLLOUTS).values(ended_at=NOW))
    assert set(settled(database, days=12).values()) == {26, 16}
