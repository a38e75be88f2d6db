import multiprocessing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from events.database import AWAY, REFUSED, Database, DatabaseError
from events.tables import LABELS, METADATA

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
    wrong = [
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
