"""One database for everything: SQLite (WAL) on a laptop, PostgreSQL in production, the same code on both."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

MIGRATIONS = Path(__file__).with_name("migrations")
WAIT_MS = 10_000
PATIENCE = {"connect_timeout": 3, "tcp_user_timeout": 10_000}  # seconds, milliseconds: libpq's own units

AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError)
"""What is raised while the database is not there, is starting, is read-only or has no room: wait, and try again.

Any other error of SQLAlchemy's will come again, however often one tries.
"""

REFUSED = (sa.exc.DataError, sa.exc.IntegrityError)
"""What is raised when the database is there, and does not take what it was given."""


class DatabaseError(RuntimeError):
    """The database cannot be used; the message says what to look at."""


class Database:
    """A pool of connections to the database."""

    def __init__(self, url: str) -> None:
        """Make the pool; nothing is connected yet.

        Parameters
        ----------
        url
            SQLAlchemy URL. ``postgresql://`` means psycopg 3.

        Raises
        ------
        DatabaseError
            When the URL names no database that can be used here.
        """
        try:
            parsed = sa.make_url(url)
            if parsed.drivername in ("postgres", "postgresql"):
                parsed = parsed.set(drivername="postgresql+psycopg")
            patience = {} if parsed.drivername.startswith("sqlite") else PATIENCE
            self.engine = sa.create_engine(parsed, pool_pre_ping=True, connect_args=patience)
        except (sa.exc.SQLAlchemyError, ModuleNotFoundError) as error:
            raise DatabaseError(f"MARINA_DATABASE_URL cannot be used: {error}") from error
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _set_up_sqlite)

    def upgrade(self) -> None:
        """Bring the tables to the state of `events.tables`, whatever state they are in.

        Raises
        ------
        DatabaseError
            When the database is not there or refuses.
        """
        import alembic.command
        import alembic.config

        try:
            self._keep_private()
            with self.writing() as connection:
                if self.engine.dialect.name == "postgresql":  # two supervisors at once: one after the other
                    connection.execute(sa.text("SELECT pg_advisory_xact_lock(727464)"))
                config = alembic.config.Config(attributes={"connection": connection})
                config.set_main_option("script_location", str(MIGRATIONS))
                alembic.command.upgrade(config, "head")
        except (OSError, sa.exc.SQLAlchemyError) as error:
            raise DatabaseError(f"The database (MARINA_DATABASE_URL) cannot be used: {error}") from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a connection to read from; all of the block sees one state of the database."""
        with self._transaction("BEGIN", "REPEATABLE READ") as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Open a transaction: all of the block is done when it ends, or nothing of it is."""
        # SQLite waits for other writers now, not in the middle
        with self._transaction("BEGIN IMMEDIATE", "READ COMMITTED") as connection:
            yield connection

    def add_new(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows; those whose key is there already are left as they are."""
        if rows:
            connection.execute(insert(connection, table).on_conflict_do_nothing(), list(rows))

    def put(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows; those whose key is there already are overwritten."""
        if rows:
            fresh = insert(connection, table)
            keys = list(table.primary_key.columns)
            given = {name: fresh.excluded[name] for name in rows[0] if name not in {key.name for key in keys}}
            connection.execute(fresh.on_conflict_do_update(index_elements=keys, set_=given), list(rows))

    def _keep_private(self) -> None:
        """Let nobody else read an SQLite file: requests and answers are in it. Its log takes over its mode."""
        place = self.engine.url.database
        if self.engine.dialect.name == "sqlite" and place and place != ":memory:":
            os.close(os.open(place, os.O_RDWR | os.O_CREAT, 0o600))
            os.chmod(place, 0o600)

    @contextlib.contextmanager
    def _transaction(self, sqlite_begin: str, postgresql_level: str) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execution_options(isolation_level=postgresql_level)
            with connection.begin():
                if self.engine.dialect.name == "sqlite":
                    connection.exec_driver_sql(sqlite_begin)
                yield connection

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


def insert(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """Return an insertion in the words of the connection's database, both of which know what to do on a conflict."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself
    connection.execute(f"PRAGMA busy_timeout={WAIT_MS}")
    end = time.monotonic() + WAIT_MS / 1000
    while True:
        try:  # SQLite refuses some of several that switch a new file together, whatever its timeout
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=NORMAL")
