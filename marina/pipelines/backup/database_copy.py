"""A copy of the database as it is at one moment, made while it is used, and the way back.

SQLite is copied page by page, so that what did not change is the same bytes again. PostgreSQL is dumped by pg_dump;
where that program is missing, or older than the server, each table is exported with COPY from one snapshot.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.backup import file_of
from marina.database.connection import MIGRATIONS, Database
from marina.database.schema import METADATA
from marina.database.tables import DECLARATIONS, LEDGER
from marina.settings import Settings

SQLITE, DUMP, TABLES = "sqlite", "pg_dump", "tables"
SCHEMA = "marina_schema"
SPARE_BYTES = 64 << 20
LEDGER_FUNCTIONS = ("ledger_refuse",)
"""What migrations made in PostgreSQL beside tables."""


class CopyError(MarinaError):
    """The database cannot be copied, or a copy put in its place; the message says what to do."""


@dataclass(frozen=True)
class Copied:
    """What was copied: files in a folder, and what the ledger and the declarations are in them."""

    kind: str
    revision: str
    files: list[Path]
    head: dict[str, Any]
    live: dict[str, dict[str, dict[str, Any]]]


def postgres_program(name: str) -> str | None:
    """Find pg_dump or pg_restore: on the PATH, or the newest where Debian and its like keep them."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: one.parent.name.zfill(4))[::-1]
    return shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")]))


def copy_database(settings: Settings, folder: Path) -> Copied:
    """Copy the database into a folder.

    Raises
    ------
    CopyError
        When it is not there, is damaged, or there is no room.
    sqlalchemy.exc.SQLAlchemyError
        When PostgreSQL is unavailable.
    """
    file = file_of(settings)
    return _copy_sqlite(file, folder) if file is not None else _copy_postgres(settings, folder)


def copy_sqlite(file: Path, made: Path) -> None:
    """Copy an SQLite file while others write, and look through the copy.

    Raises
    ------
    CopyError
        When it is not there, is damaged, or there is no room.
    """
    if not file.is_file():
        raise CopyError(f"{file} is not there: no server has run here, or MARINA_STATE_DIR names another folder")
    needed = file.stat().st_size + SPARE_BYTES
    if shutil.disk_usage(made.parent).free < needed:
        raise CopyError(f"{made.parent} has no room for a copy of {file}: free {needed / 1e6:,.0f} MB")
    os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(made)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            found = target.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise CopyError(
            f"{file} cannot be copied: {error}. docs/RUNBOOK.md, 'DatabaseDamaged', says what to do"
        ) from error
    if found != "ok":
        raise CopyError(f"{file} is damaged ({found}); earlier backups stay. docs/RUNBOOK.md, 'DatabaseDamaged'")


def _copy_sqlite(file: Path, folder: Path) -> Copied:
    made = folder / "marina.db"
    copy_sqlite(file, made)
    engine = sa.create_engine(f"sqlite:///{made}")
    try:
        with engine.connect() as connection:
            said = _describe(connection)
    except sa.exc.SQLAlchemyError as error:
        raise CopyError(f"{file} has none of Marina's tables: it is empty, or another program's") from error
    finally:
        engine.dispose()
    return Copied(SQLITE, said[0], [made], said[1], said[2])


def _describe(connection: sa.Connection) -> tuple[str, dict[str, Any], dict[str, dict[str, dict[str, Any]]]]:
    """Return the revision of the tables, the ledger's head, and what is declared."""
    revision = connection.execute(sa.text(f"SELECT version_num FROM {SCHEMA}")).scalar_one()
    chosen = sa.select(LEDGER.c.seq, LEDGER.c.hash).order_by(LEDGER.c.seq.desc()).limit(1)
    row = connection.execute(chosen).one_or_none()
    live: dict[str, dict[str, dict[str, Any]]] = {}
    for one in connection.execute(sa.select(DECLARATIONS).order_by(DECLARATIONS.c.model, DECLARATIONS.c.version)):
        live.setdefault(one.model, {})[one.version] = {"weight": one.weight, "sha256": one.sha256}
    return str(revision), {"seq": row.seq, "hash": row.hash} if row else {}, live


def _copy_postgres(settings: Settings, folder: Path) -> Copied:
    database = Database(settings.database)
    try:
        with database.reading() as connection:
            revision, head, live = _describe(connection)
            snapshot = connection.execute(sa.text("SELECT pg_export_snapshot()")).scalar_one()
            made = folder / "marina.dump"
            program = postgres_program("pg_dump")
            options = ["--format=custom", "--compress=0", "--no-owner", "--no-acl", f"--snapshot={snapshot}"]
            if program and _run(settings, [program, *options, f"--file={made}"]) is None:
                return Copied(DUMP, revision, [made], head, live)
            made.unlink(missing_ok=True)
            return Copied(TABLES, revision, list(_export(connection, folder, revision)), head, live)
    finally:
        database.close()


def _run(settings: Settings, command: list[str]) -> str | None:
    """Run a program of PostgreSQL's on the database; return what went wrong. The password is in no argument."""
    url = sa.make_url(settings.database)
    env = dict(os.environ) | ({"PGPASSWORD": str(url.password)} if url.password else {})
    bare = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    done = subprocess.run([*command, f"--dbname={bare}"], env=env, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")


def _export(connection: sa.Connection, folder: Path, revision: str) -> Iterator[Path]:
    there = set(sa.inspect(connection).get_table_names())
    tables: dict[str, list[str]] = {}
    driver: Any = connection.connection.driver_connection
    for table in METADATA.sorted_tables:
        if table.name not in there:
            continue
        tables[table.name] = names = [one["name"] for one in sa.inspect(connection).get_columns(table.name)]
        path = folder / f"{table.name}.copy"
        listed = ", ".join(f'"{name}"' for name in names)
        with path.open("wb") as file, driver.cursor().copy(f'COPY "{table.name}" ({listed}) TO STDOUT') as rows:
            for part in rows:
                file.write(part)
        yield path
    (folder / "tables.json").write_text(json.dumps({"revision": revision, "tables": tables}))
    yield folder / "tables.json"


def is_empty(settings: Settings) -> bool:
    """Say whether the database holds nothing: no file, or no ledger and no declaration."""
    file = file_of(settings)
    if file is not None:
        return not file.exists()
    database = Database(settings.database)
    try:
        with database.reading() as connection:
            there = set(sa.inspect(connection).get_table_names())
            tables = [one for one in METADATA.sorted_tables if one.name in there]
            return all(
                connection.execute(sa.select(sa.literal(1)).select_from(one).limit(1)).first() is None for one in tables
            )
    finally:
        database.close()


def check_kind(settings: Settings, kind: str) -> None:
    """See that the settings name a database of the kind that was copied.

    Raises
    ------
    CopyError
        When they name another.
    """
    if (kind == SQLITE) is not (file_of(settings) is not None):
        wanted, got = ("SQLite", "PostgreSQL") if kind == SQLITE else ("PostgreSQL", "SQLite")
        raise CopyError(
            f"The backup's database is of {wanted}, MARINA_DATABASE_URL names one of {got}: name a {wanted} one"
        )


def put_back(settings: Settings, kind: str, files: dict[str, Path]) -> None:
    """Put a copy in the database's place; what was there is replaced, all of it or nothing.

    Parameters
    ----------
    kind
        How it was copied.
    files
        Its files, by name.

    Raises
    ------
    CopyError
        When the settings name a database of another kind, or it refuses.
    """
    file = file_of(settings)
    check_kind(settings, kind)
    if file is not None:
        _put_back_sqlite(files["marina.db"], file)
    elif kind == DUMP:
        _put_back_dump(settings, files["marina.dump"])
    else:
        _put_back_tables(settings, files)
    database = Database(settings.database)
    database.upgrade()
    database.close()


def _put_back_sqlite(copy: Path, file: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy)) as made:
        found = made.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise CopyError(f"the backup's database is damaged: {found}. Restore an earlier one")
    file.parent.mkdir(parents=True, exist_ok=True)
    copy.chmod(0o600)
    for name in ("-wal", "-shm"):
        file.with_name(file.name + name).unlink(missing_ok=True)
    shutil.move(copy, file)


def _put_back_dump(settings: Settings, dump: Path) -> None:
    program = postgres_program("pg_restore")
    if program is None:
        raise CopyError(
            "The backup was made by pg_dump, and there is no pg_restore: sudo apt-get install postgresql-client"
        )
    _drop(settings)
    wrong = _run(settings, [program, "--single-transaction", "--no-owner", "--no-acl", str(dump)])
    if wrong:
        raise CopyError(
            f"pg_restore failed, and the database is empty now: {wrong}. Run the command again when it is repaired"
        )


def _drop(settings: Settings) -> None:
    with _in_transaction(settings) as connection:
        _drop_tables(connection)


def _drop_tables(connection: sa.Connection) -> None:
    for name in (*(table.name for table in METADATA.sorted_tables), SCHEMA):
        connection.execute(sa.text(f'DROP TABLE IF EXISTS "{name}" CASCADE'))
    for function in LEDGER_FUNCTIONS:
        connection.execute(sa.text(f"DROP FUNCTION IF EXISTS {function}() CASCADE"))


@contextlib.contextmanager
def _in_transaction(settings: Settings) -> Iterator[sa.Connection]:
    database = Database(settings.database)
    try:
        with database.writing(durable=True) as connection:
            yield connection
    finally:
        database.close()


def _put_back_tables(settings: Settings, files: dict[str, Path]) -> None:
    said = json.loads(files["tables.json"].read_text())
    with _in_transaction(settings) as connection:
        _drop_tables(connection)
        config = alembic.config.Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        alembic.command.upgrade(config, said["revision"])
        driver: Any = connection.connection.driver_connection
        for name, columns in said["tables"].items():
            listed = ", ".join(f'"{column}"' for column in columns)
            with (
                files[f"{name}.copy"].open("rb") as file,
                driver.cursor().copy(f'COPY "{name}" ({listed}) FROM STDIN') as rows,
            ):
                while part := file.read(1 << 20):
                    rows.write(part)
            _set_sequences(connection, name, columns)


def _set_sequences(connection: sa.Connection, table: str, columns: list[str]) -> None:
    for column in columns:
        sequence = connection.execute(
            sa.text("SELECT pg_get_serial_sequence(:name, :column)"), {"name": f'"{table}"', "column": column}
        ).scalar()
        if sequence:
            text = f'SELECT setval(:sequence, coalesce(max("{column}"), 0) + 1, false) FROM "{table}"'
            connection.execute(sa.text(text), {"sequence": sequence})
