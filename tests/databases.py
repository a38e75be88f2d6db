"""Databases with all their tables: migrated once per process, then copied. What migrates is tested in tests/marina."""

import functools
import tempfile
from pathlib import Path

from marina.database.connection import Database
from tests.postgres import Postgres

TEMPLATE = "migrated"


def sqlite_with_tables(folder: Path) -> str:
    """Put marina.db, as an upgrade leaves an empty one, into a folder; return its URL."""
    path = folder / "marina.db"
    path.touch(0o600)
    path.write_bytes(_sqlite())
    return f"sqlite:///{path}"


def postgres_with_tables(server: Postgres, name: str) -> str:
    """Make a database as an upgrade leaves an empty one; return its URL."""
    if not server.has(TEMPLATE):
        _upgrade(server.fresh(TEMPLATE))
    return server.fresh(name, TEMPLATE)


@functools.cache
def _sqlite() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "marina.db"
        _upgrade(f"sqlite:///{path}")
        assert not path.with_name("marina.db-wal").exists()  # all is in the file
        return path.read_bytes()


def _upgrade(url: str) -> None:
    database = Database(url)
    database.upgrade()
    database.close()
