from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.raw_tables import BAD_ROWS, RAW_BATCHES, RAW_RELEASES, RAW_ROWS


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path_factory.mktemp('database')}/marina.db")
    made.upgrade()
    yield made
    made.close()


@pytest.fixture
def empty(tables: Database) -> Database:
    """A database of SQLite without rows, made once for a module."""
    with tables.writing() as connection:
        for table in (RAW_ROWS, RAW_BATCHES, RAW_RELEASES, BAD_ROWS):
            connection.execute(sa.delete(table))
    return tables
