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

from archives.errors import MarinaError

MIGRATIONS = Path(__file__).with_name("migrations")
WAIT_MS = 10_000
LARGEST_LOG_PAGES = 8000
"""SQLite's log is brought over to its file by `Database.settle`, in small passes; where no one does, at this size."""
ASK_AGAIN_S = 0.001
LOOK_S = 5.0
PATIENCE = {"connect_timeout": 3, "tcp_user_timeout": 10_000}  # seconds, milliseconds: libpq's own units

AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError)
"""What is raised while the database is not there, is starting, is read-only, has no room, or is an SQLite file that is
locked or damaged: wait, and try again.

Any other error of SQLAlchemy's will come again, however often one tries.
"""

REFUSED = (sa.exc.DataError, sa.exc.IntegrityError)
"""What is raised when the database is there, and does not take what it was given."""


class DatabaseError(MarinaError):
    """The database cannot be used; the message says what to look at."""


class NoDatabaseError(DatabaseError):
    """No server has run here yet."""


class Database:
    """A pool of connections to the database."""

    def __init__(
        self, url: str, wait_ms: int = WAIT_MS, first: bool = False, carried: Mapping[str, Any] | None = None
    ) -> None:
        """Make the pool; nothing is connected yet.

        Parameters
        ----------
        url
            SQLAlchemy URL. ``postgresql://`` means psycopg 3.
        wait_ms
            How long to wait for SQLite's other writers.
        first
            Whether to come before them. SQLite keeps no queue: the one that asks most often is the next.
        carried
            What every connection brings along for who uses it, by name (`Connection.get_execution_options`).

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
            self.engine = sa.create_engine(
                parsed, pool_pre_ping=True, connect_args=patience, execution_options=dict(carried or {})
            )
        except (sa.exc.SQLAlchemyError, ModuleNotFoundError) as error:
            raise DatabaseError(f"MARINA_DATABASE_URL cannot be used: {error}") from error
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "do_connect", _open_only_what_is_there)
            sa.event.listen(self.engine, "connect", self._set_up_sqlite)
            sa.event.listen(self.engine, "checkout", _check_same_file)
            sa.event.listen(self.engine, "handle_error", _take_damage_for_absence)
        self._wait_ms = wait_ms
        self._first = first

    def upgrade(self) -> None:
        """Bring the tables to the state of `marina.database.tables`, whatever state they are in.

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
    def writing(self, durable: bool = False) -> Iterator[sa.Connection]:
        """Open a transaction: all of the block is done when it ends, or nothing of it is.

        Parameters
        ----------
        durable
            Whether it outlives a power cut once it has ended. SQLite may lose the last others to one.
        """
        # SQLite waits for other writers now, not in the middle
        with self._transaction("BEGIN IMMEDIATE", "READ COMMITTED", durable) as connection:
            yield connection

    def faults(self) -> list[str]:
        """Look through an SQLite file for damage, for some seconds at most.

        Returns
        -------
        list of str
            What is wrong, in SQLite's words; nothing where the file is whole as far as it was looked through.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            One of `AWAY` when it cannot be read at all.
        """
        file_path = self.engine.url.database or ":memory:"
        if self.engine.dialect.name != "sqlite" or not (file_path == ":memory:" or Path(file_path).exists()):
            return []
        end, opened = time.monotonic() + LOOK_S, False
        try:
            with self.reading() as connection:
                opened = True
                driver: Any = connection.connection.driver_connection
                driver.set_progress_handler(lambda: time.monotonic() > end, 100_000)
                try:
                    words = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check(5)")]
                finally:
                    if not connection.invalidated:
                        driver.set_progress_handler(None, 0)
        except AWAY as error:
            if not opened:
                raise
            return [] if time.monotonic() > end else [str(error).splitlines()[0]]
        return [] if words == ["ok"] else words

    def add_new(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows; those whose key is there already are left as they are."""
        if rows:
            connection.execute(insert(connection, table).on_conflict_do_nothing(), list(rows))

    def add_rows(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Sequence[Any]]) -> None:
        """Insert many rows, each in the order of the table's columns, as `add_new` does at three times the cost."""
        if rows:
            names = [column.name for column in table.columns]
            placeholder = "%s" if connection.dialect.name == "postgresql" else "?"
            places = ", ".join([placeholder] * len(names))
            text = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places}) ON CONFLICT DO NOTHING"
            connection.exec_driver_sql(text, list(rows))

    def settle(self) -> bool:
        """Bring SQLite's log over to its file, which forces both to the disk.

        Returns
        -------
        bool
            Whether all that was committed before this call outlives a power cut.
        """
        if self.engine.dialect.name != "sqlite":
            return True
        with self.engine.connect() as connection:
            busy, logged, taken_over = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
        return not busy and logged == taken_over

    def put(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows; those whose key is there already are overwritten."""
        if rows:
            statement = insert(connection, table)
            keys = list(table.primary_key.columns)
            given = {name: statement.excluded[name] for name in rows[0] if name not in {key.name for key in keys}}
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=given), list(rows))

    def _keep_private(self) -> None:
        """Let no one else read an SQLite file: requests and answers are in it. Its log takes over its mode."""
        file_path = self.engine.url.database
        if self.engine.dialect.name == "sqlite" and file_path and file_path != ":memory:":
            os.close(os.open(file_path, os.O_RDWR | os.O_CREAT, 0o600))
            os.chmod(file_path, 0o600)

    @contextlib.contextmanager
    def _transaction(self, sqlite_begin: str, postgresql_level: str, durable: bool = False) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection:
            if self.engine.dialect.name == "postgresql":
                with connection.execution_options(isolation_level=postgresql_level).begin():
                    yield connection
                return
            driver: Any = connection.connection.driver_connection
            with connection.begin():
                driver.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                if self._first:
                    self._begin_first(driver, sqlite_begin)
                else:
                    connection.exec_driver_sql(sqlite_begin)
                yield connection

    def _begin_first(self, driver: Any, sqlite_begin: str) -> None:
        """Ask for the lock again every millisecond; the pauses of those who leave that to SQLite grow to 0.1 s."""
        driver.execute("PRAGMA busy_timeout=0")
        end = time.monotonic() + self._wait_ms / 1000
        try:
            while True:
                try:
                    driver.execute(sqlite_begin)
                    return
                except sqlite3.Error as error:
                    if not _is_busy(error) or time.monotonic() > end:
                        raise sa.exc.OperationalError(sqlite_begin, None, error) from error
                    time.sleep(ASK_AGAIN_S)
        finally:
            driver.execute(f"PRAGMA busy_timeout={self._wait_ms}")

    def _set_up_sqlite(self, connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        connection.execute(f"PRAGMA busy_timeout={self._wait_ms}")
        end = time.monotonic() + self._wait_ms / 1000
        while True:
            try:  # SQLite refuses some of several that switch a new file together, whatever its timeout
                connection.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > end:
                    raise
                time.sleep(0.01)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={LARGEST_LOG_PAGES}")
        file_path = str(connection.execute("PRAGMA database_list").fetchone()[2])
        record.info["file"] = file_path, _identity(file_path)

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


def open_for_report(url: str) -> Database:
    """Return the database for what only reads, with tables in their newest state.

    Parameters
    ----------
    url
        SQLAlchemy URL.

    Raises
    ------
    NoDatabaseError
        When there is none yet.
    DatabaseError
        When it cannot be used.
    """
    database = Database(url)
    file_path = database.engine.url.database
    if database.engine.dialect.name == "sqlite" and file_path and file_path != ":memory:":
        try:
            there = Path(file_path).is_file()
        except OSError as error:
            raise DatabaseError(f"The database {file_path} cannot be read: {error.strerror}") from error
        if not there:
            raise NoDatabaseError(
                f"There is nothing yet: no server has run here ({file_path} is not there). Start one "
                "(`python scripts/serve.py`), or name the state folder or the database of one that runs in "
                "MARINA_STATE_DIR or MARINA_DATABASE_URL."
            )
    database.upgrade()
    return database


def insert(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """Return an insertion in the words of the connection's database, both of which know what to do on a conflict."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _is_busy(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _open_only_what_is_there(_: object, __: object, arguments: list[str], options: dict[str, Any]) -> None:
    """Leave it to `Database.upgrade` to make a file: where one is missing, it may be about to come back."""
    if arguments and arguments[0] not in ("", ":memory:") and not arguments[0].startswith("file:"):
        arguments[0] = f"{Path(arguments[0]).absolute().as_uri()}?mode=rw"
        options["uri"] = True


def _identity(file_path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file_path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_same_file(_: object, record: Any, __: object) -> None:
    """Connect again where the SQLite file was replaced or deleted: what is written to the old one is lost."""
    file_path, opened = record.info["file"]
    if opened is not None and _identity(file_path) != opened:
        raise sa.exc.DisconnectionError(f"{file_path} is another file now")


def _take_damage_for_absence(context: sa.engine.ExceptionContext) -> Exception | None:
    """Raise one of `AWAY` for an SQLite file that is damaged, or none, and open it again the next time."""
    original = context.original_exception
    if type(original) is not sqlite3.DatabaseError:  # other kinds of faults have classes of their own
        return None
    context.is_disconnect = True
    return sa.exc.OperationalError(context.statement, None, original)
