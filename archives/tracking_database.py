"""Makes MLflow's local database, whole or not at all, while any number of processes want it at once.

MLflow makes its tables in dozens of steps, in place, and two processes that do so at once break each other, as one that
is killed in between breaks all that come later. So one process makes the database beside its place, under a lock that
ends with it, and moves it there; the others wait.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

WAIT_S: Final = 300.0
"""How long another process may take to make the database."""

REST_S: Final = 10.0
"""A database that is not whole and has not changed for so long is being made by no one."""

_PART: Final = ".mlflow-"
_OWN_ROWS: Final = {"alembic_version": 1, "experiments": 1, "workspaces": 1}  # those MLflow itself writes


class DatabaseFault(Exception):
    """A local database of no use; the text says why, and what to do."""


def prepare(uri: str, open_client: Callable[[str], Any]) -> None:
    """See that a local database is there and whole, and make it where it is not.

    Parameters
    ----------
    uri
        ``sqlite:///PATH``.
    open_client
        MLflow's client, which makes a database where its URI points.

    Raises
    ------
    DatabaseFault
        If it cannot be made, is no database, or is of another version of MLflow.
    """
    import sqlalchemy

    named = sqlalchemy.make_url(uri).database
    if not named or named == ":memory:":
        return
    database = Path(named).absolute()
    head, known = _revisions()
    try:
        if _revision(database) == head:
            return
        database.parent.mkdir(parents=True, exist_ok=True)
        with _alone(database):
            _make_whole(database, head, known, open_client)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseFault(
            f"cannot make or read MLflow's database {database}: {error}. Expected a file of SQLite in a folder that "
            "this user can write to, with space; move away what is there, or set MARINA_STATE_DIR to another folder"
        ) from error


def _make_whole(database: Path, head: str, known: set[str], open_client: Callable[[str], Any]) -> None:
    """Make the database where it is missing or was left half made; called by one process at a time."""
    end = time.monotonic() + WAIT_S
    while (revision := _revision(database)) != head:
        before = _changed_s(database)
        if time.time() - before < REST_S:  # by a program of MLflow itself, which knows no lock
            if time.monotonic() > end:
                raise DatabaseFault(
                    f"MLflow's database {database} has been written to for {WAIT_S:.0f} s without being whole: see "
                    "which program does so (`mlflow ui`, `mlflow db upgrade`), and try again after it"
                )
            time.sleep(0.2)
            continue
        if revision and revision not in known:
            raise DatabaseFault(
                f"MLflow's database {database} is of a newer MLflow (its schema, {revision}, is not known to this "
                "one): install that MLflow, or move the file away, and a new one is made"
            )
        if database.exists() and not _is_empty(database):
            raise DatabaseFault(
                f"MLflow's database {database} is of an older MLflow (schema {revision or 'none'}, expected {head}): "
                f"copy the file, then run `mlflow db upgrade sqlite:///{database}`; or move it away, and a new one is "
                "made"
            )
        _make(database, before, open_client)


def _make(database: Path, before_s: float, open_client: Callable[[str], Any]) -> None:
    """Make a database beside its place and move it there, unless another program has begun one there meanwhile."""
    for left in database.parent.glob(f"{_PART}*"):  # of one who was killed
        shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=_PART, dir=database.parent))
    try:
        made = part / database.name
        open_client(f"sqlite:///{made}")
        if _changed_s(database) != before_s:
            return
        for name in ("-journal", "-wal", "-shm"):  # of what is replaced: they would be read as the new one's
            database.with_name(database.name + name).unlink(missing_ok=True)
        made.replace(database)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@functools.cache
def _revisions() -> tuple[str, set[str]]:
    """Return the revision of this MLflow's tables, and all that it knows."""
    import mlflow
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return str(scripts.get_current_head()), {one.revision for one in scripts.walk_revisions()}


def _revision(database: Path) -> str:
    """Return the revision of a database's tables; empty where there is none, or no table that says so."""
    if not database.exists():
        return ""
    with closing(_opened(database)) as connection:
        try:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return ""
            raise
    return str(found[-1][0]) if found else ""


def _is_empty(database: Path) -> bool:
    """Whether a database holds no runs or models: no more than MLflow itself writes."""
    with closing(_opened(database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        counts = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in names}
    return all(count <= _OWN_ROWS.get(name, 0) for name, count in counts.items())


def _opened(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True, timeout=20.0)


def _changed_s(database: Path) -> float:
    """When a database or what belongs to it changed last, in seconds since 1970."""
    times = [0.0]
    for name in ("", "-journal", "-wal"):
        with suppress(FileNotFoundError):
            times.append(database.with_name(database.name + name).stat().st_mtime)
    return max(times)


@contextmanager
def _alone(database: Path) -> Iterator[None]:
    """Hold the lock beside a database; the system takes it back from a process that is killed."""
    lock = database.with_name(f"{database.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        end = time.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise DatabaseFault(
                        f"another process has been making MLflow's database {database} for {WAIT_S:.0f} s: see which "
                        f"one holds {lock} (`fuser {lock}`), end it, and try again"
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)
