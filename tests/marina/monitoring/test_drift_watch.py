"""Batches are taken once, wherever the watcher is killed; what has moved is an alert, and waits for a person."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import ALERTS, DRIFT_DETECTORS, EVIDENCE, PREDICTIONS
from marina.monitoring import detector_rows, drift_watch, observations
from marina.monitoring.alerts import DECISIONS, decide, undecided
from marina.monitoring.detector_rows import Watched
from marina.monitoring.drift_watch import SETTLE_S, DriftWatch
from marina.monitoring.observations import Cursor
from marina.releases.lease import Lease
from tests.marina.monitoring.watched import BEGAN, MODEL, SHA256, VERSION, answers, insert, version

ONE = version(rows=1_500)
LATER = BEGAN + 10_000_000


class KilledError(BaseException):
    """The process ends here."""


@contextmanager
def killed_at(database: Database, number: int) -> Iterator[list[int]]:
    """Raise at a statement, counted from 0; yield how many there were."""
    seen = [0]

    def raise_there(*_: Any) -> None:
        seen[0] += 1
        if seen[0] > number:
            raise KilledError

    sa.event.listen(database.engine, "before_cursor_execute", raise_there)
    try:
        yield seen
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", raise_there)


def kept(database: Database) -> Watched | None:
    with database.reading() as connection:
        return detector_rows.read(connection, MODEL, VERSION, SHA256, ONE.watchlist)


def catch_up(database: Database, now: float = LATER, size: int = 256) -> Watched:
    watch = DriftWatch(database, size=size)
    while watch.step(ONE, now):
        pass
    found = kept(database)
    assert found is not None
    return found


@pytest.mark.slow
def test_killed_at_any_statement_no_batch_is_counted_twice_or_left_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_watch, "MOST_BATCHES", 4)
    insert(database, answers(40) + answers(280, first=40, blue=1.0))
    with killed_at(database, 10_000) as statements:
        expected = catch_up(database, size=32)
    assert expected.alarmed_at is not None and expected.alert is not None and expected.batches > 5
    for number in range(statements[0]):
        with database.writing() as connection:
            connection.execute(sa.delete(DRIFT_DETECTORS))
            connection.execute(sa.delete(ALERTS))
        with killed_at(database, number), pytest.raises(KilledError):
            catch_up(database, size=32)
        found = catch_up(database, size=32)
        assert (found.batches, found.requests, found.cursor) == (expected.batches, expected.requests, expected.cursor)
        assert np.array_equal(found.detector.state, expected.detector.state)
        assert found.moved == expected.moved and found.alarmed_at == expected.alarmed_at
        with database.reading() as connection:
            assert len(undecided(connection, MODEL)) == 1


def test_every_row_is_in_one_batch_and_a_request_in_no_two(database: Database) -> None:
    rows = answers(700)
    for place, row in enumerate(rows):  # requests of seven instances each, all at one time
        row |= {"request_id": f"r{place // 7:08d}", "instance": place % 7, "time": BEGAN + 1 + place // 7}
    insert(database, rows)
    cursor, sizes = Cursor(BEGAN), []
    with database.reading() as connection:
        while batch := observations.next_batch(connection, MODEL, VERSION, cursor, ("hue", "size"), 256, LATER):
            cursor = batch.cursor
            sizes.append(len(batch.requests))
            assert batch.cursor.instance == 6
            assert batch.requests.grouping == pytest.approx(7)
    assert sizes == [259, 259, 182]


def test_a_batch_is_an_hour_where_little_comes_and_waits_until_that_is_over(database: Database) -> None:
    insert(database, answers(30, every_s=600.0))
    watch = DriftWatch(database)
    first = BEGAN + 1
    assert watch.step(ONE, first + 3_600 + SETTLE_S - 1) == 0
    assert watch.step(ONE, first + 3_600 + SETTLE_S + 1) == 1
    found = kept(database)
    assert found is not None and found.requests == 6
    assert catch_up(database).batches == 5


def test_a_row_that_comes_after_its_batch_is_in_none(database: Database) -> None:
    insert(database, answers(600))
    before = catch_up(database)
    late = answers(1, first=9_999)[0] | {"time": BEGAN + 5}
    insert(database, [late])
    assert catch_up(database).requests == before.requests
    with database.reading() as connection:  # and reports have it
        assert len(observations.between(connection, MODEL, VERSION, ("hue", "size"), BEGAN, BEGAN + 6)) == 2


@pytest.mark.parametrize("decision", DECISIONS)
def test_after_an_alarm_it_waits_for_a_person_and_then_begins_again(database: Database, decision: str) -> None:
    insert(database, answers(10_000) + answers(3_000, first=10_000, blue=0.3))
    alarmed = catch_up(database)
    assert alarmed.moved[0] == "label blue" and alarmed.alert is not None
    shift = BEGAN + 1 + 10_000 * 14
    assert alarmed.alarmed_at is not None and shift < alarmed.alarmed_at < shift + 3 * 256 * 14
    insert(database, answers(3_000, first=13_000, blue=0.3))
    now = BEGAN + 16_000 * 14
    assert catch_up(database, now).batches == alarmed.batches
    with database.reading() as connection:
        [alert] = undecided(connection, MODEL)
    assert alert.id == alarmed.alert and "answers 'blue'" in alert.what and "9.6 % in the reference" in alert.what
    assert alert.name == "predictions" and alert.evidence >= alarmed.needed - math.log(8)
    assert shift - 3 * 256 * 14 <= alert.since <= shift + 256 * 14
    decide(database, alert.id, "a test", decision, "it is so", now)
    again = catch_up(database, now)
    assert again.alert is None and not again.moved and again.cursor.time == now - SETTLE_S
    insert(database, answers(3_000, first=16_010, blue=0.3))
    after = catch_up(database)
    if decision == "adjust":  # three in ten are as it is now
        assert after.alarmed_at is None and after.batches == alarmed.batches + 12
    else:
        assert after.moved[0] == "label blue"


def test_a_healthy_stretch_raises_nothing_and_a_moved_quantity_is_named(database: Database) -> None:
    insert(database, answers(8_000))
    assert catch_up(database).alarmed_at is None
    insert(database, answers(3_000, first=8_000, hue=1.0))
    found = catch_up(database)
    assert found.moved and all(name.startswith(("hue", "unlike")) for name in found.moved)


def test_errors_are_watched_without_a_reference(database: Database) -> None:
    insert(database, answers(9_000))
    windows = [
        {
            "model": MODEL,
            "version": VERSION,
            "replica": "here",
            "start": start,
            "requests": 20,
            "latencies": "{}",
            "errors": 2 * int(start > BEGAN + 100_000),
        }
        for start in range(int(BEGAN), int(BEGAN) + 126_000, 60)
    ]
    with database.writing() as connection:
        connection.execute(sa.insert(EVIDENCE), windows)
    found = catch_up(database)
    assert found.moved == ["errors"]
    with database.reading() as connection:
        assert undecided(connection, MODEL)[0].name == "errors"


def test_answers_without_a_summary_say_nothing_of_quantities(database: Database) -> None:
    insert(database, [row | {"summary": None} for row in answers(3_000)])
    found = catch_up(database)
    watched = found.detector.dispersion.batches > 0
    kinds = {one.kind for one, came in zip(ONE.watchlist.streams, watched, strict=True) if came}
    assert kinds == {"label", "confidence"} and found.alarmed_at is None


def test_another_archive_of_the_version_begins_from_nothing(database: Database) -> None:
    insert(database, answers(3_000))
    catch_up(database)
    with database.writing() as connection:
        connection.execute(sa.update(DRIFT_DETECTORS).values(sha256="b" * 64))
    assert kept(database) is None
    assert catch_up(database).batches == 12


def test_one_that_lost_the_lease_writes_nothing(database: Database) -> None:
    insert(database, answers(3_000))
    mine, other = Lease("watcher", "mine"), Lease("watcher", "another")
    with database.writing() as connection:
        assert other.take(connection, BEGAN)
    assert DriftWatch(database, mine).step(ONE, LATER) == 0 and kept(database) is None
    assert DriftWatch(database, other).step(ONE, LATER) == 12


def test_of_two_that_took_the_same_batches_one_writes_them(database: Database) -> None:
    insert(database, answers(3_000))
    second = DriftWatch(database)

    class First(DriftWatch):
        def _save(self, *given: Any) -> bool:
            assert second.step(ONE, LATER) == 12
            return super()._save(*given)

    assert First(database).step(ONE, LATER) == 0
    found = kept(database)
    assert found is not None and found.batches == 12


def test_rows_of_other_models_and_versions_are_left_alone(database: Database) -> None:
    insert(database, answers(300))
    insert(database, [row | {"version": "2.0"} for row in answers(300)])
    assert catch_up(database).requests == 300
    with database.reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(PREDICTIONS)).scalar_one() == 600
