import contextlib
import multiprocessing
import random
import shutil
import sqlite3
import time
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from marina.database.connection import AWAY, REFUSED, Database, DatabaseError
from marina.database.schema import METADATA
from marina.database.tables import LABELS

LABEL = {"request_id": "a", "instance": 0, "label": "hello", "time": 1.5}


def test_the_migrations_make_the_tables_as_they_are_described(database: Database) -> None:
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "marina_schema"})
        assert compare_metadata(context, METADATA) == []


def test_upgrading_again_changes_nothing(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(sa.insert(LABELS), LABEL)
    database.upgrade()
    with database.reading() as connection:
        assert connection.execute(sa.select(LABELS.c.label)).scalars().all() == ["hello"]


def test_a_block_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.writing() as connection:
        connection.execute(sa.insert(LABELS), LABEL)
        raise ZeroDivisionError
    with database.reading() as connection:
        assert connection.execute(sa.select(LABELS)).all() == []


def test_what_is_read_in_one_block_is_one_state(database: Database) -> None:
    count = sa.select(sa.func.count()).select_from(LABELS)
    with database.reading() as before:
        assert before.execute(count).scalar_one() == 0
        with database.writing() as connection:
            connection.execute(sa.insert(LABELS), LABEL)
        with database.reading() as after:
            assert after.execute(count).scalar_one() == 1
        assert before.execute(count).scalar_one() == 0


def test_an_error_that_will_come_again_is_not_taken_for_a_database_that_is_away(
    database: Database, database_url: str
) -> None:
    wrong: list[sa.Executable] = [
        sa.insert(LABELS).values(LABEL | {"label": None}),
        sa.text("INSERT INTO labels (request_id, instance, label, time) VALUES ('a', 1, 'b', NULL)"),
    ]
    for statement in wrong:
        with pytest.raises(REFUSED), database.writing() as connection:
            connection.execute(statement)
    away = Database("postgresql://marina@127.0.0.1:1/none" if "postgres" in database_url else "sqlite:////none/x.db")
    with pytest.raises(AWAY), away.reading():
        pass


def test_rows_are_added_once_and_put_as_they_are_last(database: Database) -> None:
    changed = LABEL | {"label": "goodbye"}
    with database.writing() as connection:
        database.add_new(connection, LABELS, [LABEL])
        database.add_new(connection, LABELS, [changed])
    with database.reading() as connection:
        assert connection.execute(sa.select(LABELS.c.label)).scalar_one() == "hello"
    with database.writing() as connection:
        database.put(connection, LABELS, [changed])
    with database.reading() as connection:
        assert connection.execute(sa.select(LABELS.c.label)).scalar_one() == "goodbye"


def _count_up(url: str, times: int) -> None:
    database = Database(url)
    database.upgrade()
    for _ in range(times):
        with database.writing() as connection:
            seen = connection.execute(sa.select(sa.func.count()).select_from(LABELS)).scalar_one()
            connection.execute(sa.insert(LABELS), LABEL | {"instance": seen})
    database.close()


def test_processes_that_write_at_once_wait_for_each_other(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/marina.db"
    processes = [multiprocessing.get_context("spawn").Process(target=_count_up, args=(url, 40)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    database = Database(url)
    with database.reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(LABELS)).scalar_one() == 120
    database.close()


@pytest.mark.parametrize("url", ["nonsense", "oracle://x", "sqlite:////nonexistent/folder/x.db"])
def test_a_database_that_cannot_be_used_is_named_with_its_setting(url: str) -> None:
    with pytest.raises(DatabaseError, match="MARINA_DATABASE_URL"):
        database = Database(url)
        database.upgrade()


def test_an_sqlite_file_and_its_log_are_nobody_elses_to_read(tmp_path: Path) -> None:
    (tmp_path / "marina.db").touch(0o644)
    database = Database(f"sqlite:///{tmp_path}/marina.db")
    database.upgrade()
    with database.writing() as connection:
        connection.execute(sa.insert(LABELS), LABEL)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    database.close()
    assert modes.keys() >= {"marina.db", "marina.db-wal"} and set(modes.values()) == {0o600}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database file of some pages, with a copy beside it."""
    place = tmp_path / "own.db"
    made = Database(f"sqlite:///{place}")
    made.upgrade()
    with made.writing() as connection:
        connection.execute(sa.insert(LABELS), [LABEL | {"instance": number} for number in range(2000)])
    made.close()  # the last one that closes it takes the log over
    shutil.copy(place, tmp_path / "copy.db")
    return place


def _count(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(LABELS)).scalar_one())


@pytest.mark.parametrize("kept", [0, 4096])
def test_a_damaged_file_is_a_database_that_is_away_until_it_is_replaced(file: Path, kept: int) -> None:
    database = Database(f"sqlite:///{file}")
    assert (_count(database), database.faults()) == (2000, [])
    content = file.read_bytes()
    file.write_bytes(content[:kept] + random.Random(1).randbytes(len(content) - kept))
    fresh = Database(f"sqlite:///{file}", first=True)
    with pytest.raises(AWAY):
        _count(fresh)
    with pytest.raises(AWAY), fresh.writing(durable=True) as connection:
        connection.execute(sa.insert(LABELS), LABEL | {"instance": 9999})
    with contextlib.suppress(*AWAY):
        assert fresh.faults()
    (file.parent / "copy.db").replace(file)
    assert [_count(one) for one in (database, fresh)] == [2000, 2000]
    assert fresh.faults() == []
    database.close()
    fresh.close()


def test_a_file_that_was_deleted_is_not_written_to_any_more(file: Path) -> None:
    database = Database(f"sqlite:///{file}")
    assert _count(database) == 2000
    file.unlink()
    with pytest.raises(AWAY):
        _count(database)
    assert not file.exists()  # it may be about to come back
    database.upgrade()
    assert _count(database) == 0
    database.close()


def test_what_is_to_outlive_a_power_cut_is_forced_to_the_disk(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/own.db")
    database.upgrade()
    for durable, level in ((True, 2), (False, 1), (True, 2)):
        with database.writing(durable) as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == level
    database.close()


def _hold(url: str, ready: Barrier, stop: Event) -> None:
    database = Database(url, wait_ms=60_000)
    ready.wait()
    while not stop.is_set():
        with database.writing():
            time.sleep(0.02)
        time.sleep(0.002)


def test_who_comes_first_waits_for_less_than_who_does_not(file: Path) -> None:
    url = f"sqlite:///{file}"
    spawning = multiprocessing.get_context("spawn")
    ready, stop = spawning.Barrier(4), spawning.Event()
    others = [spawning.Process(target=_hold, args=(url, ready, stop), daemon=True) for _ in range(3)]
    for one in others:
        one.start()
    ready.wait(120)
    waited: dict[bool, list[float]] = {True: [], False: []}
    either = {first: Database(url, first=first, wait_ms=60_000) for first in waited}
    try:
        for _ in range(15):
            for first, database in either.items():
                began = time.monotonic()
                with database.writing():
                    waited[first].append(time.monotonic() - began)
                time.sleep(0.05)
    finally:
        stop.set()
        for one in others:
            one.join(60)
        for database in either.values():
            database.close()
    assert sum(waited[True]) < sum(waited[False]) / 2, waited


def test_a_database_that_is_locked_is_waited_for_as_long_as_was_said(file: Path) -> None:
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    for first in (False, True):
        hasty = Database(f"sqlite:///{file}", wait_ms=200, first=first)
        assert _count(hasty) == 2000  # who reads does not wait for who writes
        began = time.monotonic()
        with pytest.raises(AWAY), hasty.writing():
            pass
        assert 0.1 < time.monotonic() - began < 3
        hasty.close()
    holder.close()


def test_what_is_settled_was_forced_to_the_disk_and_a_reader_holds_that_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/own.db"
    database = Database(url)
    database.upgrade()
    assert database.settle()
    with database.writing() as connection:
        connection.execute(sa.insert(LABELS), LABEL)
    with database.reading() as reader:
        assert reader.execute(sa.select(LABELS.c.label)).scalar_one() == "hello"
        with database.writing() as connection:
            connection.execute(sa.insert(LABELS), LABEL | {"instance": 1})
        assert not database.settle()
    assert database.settle()
    (tmp_path / "own.db-wal").unlink()  # as if it had never come to the disk
    kept = sqlite3.connect(f"file:{tmp_path}/own.db?immutable=1", uri=True)
    assert kept.execute("SELECT count(*) FROM labels").fetchone() == (2,)
    kept.close()
    database.close()


def test_many_rows_go_in_at_once_in_the_order_of_the_columns(database: Database) -> None:
    rows = [("a", 0, "hello", 1.5, "x"), ("a", 1, "there", 2.5, ""), ("a", 0, "again", 3.5, "x")]
    with database.writing() as connection:
        database.add_rows(connection, LABELS, rows)
        database.add_rows(connection, LABELS, [])
    with database.reading() as connection:
        found = connection.execute(sa.select(LABELS).order_by(LABELS.c.instance)).all()
    assert found == rows[:2]
