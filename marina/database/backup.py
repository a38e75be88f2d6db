"""A copy of the SQLite database beside it, made while it is used, once a day or at once.

    python -m marina.database.backup

The copy is looked through before it takes the place of the last one, so a database that is damaged does not cost the
last good copy. PostgreSQL has means of its own (pg_dump); nothing is done for it.
"""

import contextlib
import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.schema import METADATA
from marina.processes.background import step_aside
from marina.processes.console import log
from marina.settings import Settings, read_settings

EVERY_S = 86_400.0
SPARE = 2
"""This multiple of the database's size has to be free: a copy is nothing that a disk may be filled for."""
NICE = 19


class BackupError(MarinaError):
    """No copy was made; the message says why."""


def copy_of(file: Path) -> Path:
    """Return where the copy of a database is."""
    return file.with_name(f"{file.name}.backup")


def due(file: Path, now: float) -> bool:
    """Say whether a copy is to be made: there is none, or it is not of the last day by either clock."""
    try:
        return abs(now - copy_of(file).stat().st_mtime) >= EVERY_S
    except FileNotFoundError:
        return True


def back_up(file: Path) -> int:
    """Copy a database; return the size of the copy, in bytes.

    Raises
    ------
    BackupError
        When there is no room, or the database or its copy is damaged or has no tables. The last copy stays.
    """
    path = copy_of(file)
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    needed, free = SPARE * file.stat().st_size, shutil.disk_usage(file.parent).free
    if needed > free:
        raise BackupError(f"{file.parent} has {free / 1e6:,.0f} MB left; a copy needs {needed / 1e6:,.0f} MB")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # it holds requests and answers
        with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("VACUUM INTO ?", [str(temporary)])
        with contextlib.closing(sqlite3.connect(temporary)) as made:
            found = made.execute("PRAGMA quick_check(1)").fetchone()[0]
            tables = {name for (name,) in made.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if found != "ok":
            raise BackupError(f"the copy of {file} is damaged ({found}); the last one is kept")
        if METADATA.tables.keys().isdisjoint(tables):
            raise BackupError(f"{file} has none of Marina's tables, as one that is empty; the last copy is kept")
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{file} cannot be copied ({error}); the last copy is kept") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path.stat().st_size


def file_of(settings: Settings) -> Path | None:
    """Return the SQLite file of the settings' database; None where it is none."""
    url = sa.make_url(settings.database)
    if not url.drivername.startswith("sqlite") or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database))


def main() -> int:
    """Make a copy now."""
    step_aside(NICE)
    file = file_of(read_settings())
    if file is None:
        return 0
    began = time.monotonic()
    try:
        size = back_up(file)
    except (BackupError, OSError) as error:
        log(f"backup: {error}")
        return 1
    log(f"backup: {copy_of(file)}, {size / 1e6:,.1f} MB in {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
