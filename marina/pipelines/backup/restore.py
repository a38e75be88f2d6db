"""Puts a backup into an empty machine: files first, each compared with its hash, the database last.

A restore that is killed leaves a note, and the same command continues with what is missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.backup import file_of
from marina.database.connection import Database, DatabaseError
from marina.database.half_restored import RESTORING
from marina.monitoring.requested_trainings import is_attended
from marina.pipelines.backup import contents, manifest
from marina.pipelines.backup.contents import DATABASE, STATE, target_of
from marina.pipelines.backup.database_copy import check_kind, is_empty, put_back
from marina.pipelines.backup.manifest import Kept, Manifest
from marina.pipelines.backup.stores import Store
from marina.releases import ledger
from marina.releases.heads import Heads, heads_file, ledger_keyring
from marina.rollout.audit import audit
from marina.settings import Settings


class RestoreError(MarinaError):
    """Nothing, or not all, was restored; the message says what to do."""


@dataclass(frozen=True)
class Restored:
    """What came of a restore.

    Attributes
    ----------
    name, manifest
        The backup.
    faults
        What contradicts the ledger now, a sentence each; empty where it verifies.
    aside
        Where what was there before is; None where nothing was.
    seconds
        How long it took.
    """

    name: str
    manifest: Manifest
    faults: list[str]
    aside: Path | None
    seconds: float


def restore(settings: Settings, store: Store, asked: str = "latest", force: bool = False) -> Restored:
    """Restore a backup.

    Parameters
    ----------
    asked
        Its id, or how that begins; ``latest``.
    force
        Whether what is there is moved aside; a PostgreSQL database that is not empty is replaced.

    Raises
    ------
    archives.errors.MarinaError
        When a server or a loop runs here, the target is not empty, the backup is damaged, or the database refuses it.
    """
    watch = time.monotonic()
    name, made = manifest.read(store, asked)
    check_kind(settings, str(made.database["kind"]))
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _no_server(settings):
        note = settings.state_dir / RESTORING
        continued = note.is_file() and note.read_text().strip() == name
        aside = None
        if not continued:
            occupied = list(_occupied(settings, made))
            if occupied and not force:
                raise RestoreError(
                    f"{', '.join(occupied[:3])} {'are' if len(occupied) > 1 else 'is'} there: a restore is for an "
                    "empty machine. Name another MARINA_STATE_DIR and database, or pass --force: files are then moved "
                    "aside, and a PostgreSQL database is replaced"
                )
            _refuse_a_loop(settings)
            note.write_text("")  # no server starts, and what is there is still to be moved aside
            aside = _move_aside(settings, made) if occupied else None
            note.write_text(name)
        _restore_files(settings, store, made)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.state_dir) as folder:
            copied = {}
            for one in made.files:
                if one.path.startswith(f"{DATABASE}/"):
                    copied[Path(one.path).name] = path = Path(folder) / Path(one.path).name
                    _write(store, one, path)
            put_back(settings, str(made.database["kind"]), copied)
        faults = check(settings, made)
        note.unlink()
    return Restored(name, made, faults, aside, time.monotonic() - watch)


def check(settings: Settings, made: Manifest) -> list[str]:
    """Compare what was restored with the backup: the ledger, its head, signatures, what it declared."""
    database = Database(settings.database)
    try:
        with database.reading() as connection:
            faults = audit(connection, ledger_keyring(settings), Heads(heads_file(settings)).read())
            last = next(ledger.entries(connection, newest_first=True), None)
    finally:
        database.close()
    head = {"seq": last.seq, "hash": last.hash} if last else {}
    if head != made.head:
        faults.append(f"the ledger's last row is {head or 'none'}, the backup's was {made.head or 'none'}")
    return faults


@contextlib.contextmanager
def _no_server(settings: Settings) -> Iterator[None]:
    with (settings.state_dir / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip()
            raise RestoreError(
                f"A server runs from {settings.state_dir} (process {pid}), or another restore: `kill {pid}` stops it"
            ) from None
        yield


def _refuse_a_loop(settings: Settings) -> None:
    """See that no loop works with the database that is to be replaced; one that cannot be read has none."""
    attended = False
    if not is_empty(settings):
        database = Database(settings.database)
        with contextlib.suppress(DatabaseError, sa.exc.SQLAlchemyError), database.reading() as connection:
            attended = is_attended(connection, time.time())
        database.close()
    if attended:
        raise RestoreError(
            "A loop works with this database, or did in the last minute, and what it writes would be lost: stop "
            "scripts/loop.py or the orchestrator (python scripts/orchestrator.py stop), and restore a minute later"
        )


def _targets(settings: Settings, made: Manifest) -> Iterator[tuple[Kept, Path]]:
    for one in made.files:
        if not one.path.startswith(f"{DATABASE}/"):
            yield one, target_of(settings, one.path)


def _occupied(settings: Settings, made: Manifest) -> Iterator[str]:
    """Name what is there that a restore would replace, or that does not belong to the backup's versions."""
    if not is_empty(settings):
        yield str(file_of(settings) or "the database that MARINA_DATABASE_URL names")
    for name in (contents.HEADS, contents.REGISTRY, "declared", "mlflow"):
        path = settings.state_dir / name
        if (path.is_dir() and any(path.iterdir())) or (path.is_file() and path.stat().st_size):
            yield str(path)
    for one, path in _targets(settings, made):
        if not one.path.startswith(f"{STATE}/") and path.is_file() and not _is(path, one):
            yield str(path)


def _move_aside(settings: Settings, made: Manifest) -> Path:
    aside = settings.state_dir / time.strftime("before-restore-%Y%m%dT%H%M%S")
    aside.mkdir(mode=0o700)
    file = file_of(settings)
    registry = contents.registry_file(settings)
    paths = [settings.state_dir / name for name in (contents.HEADS, contents.DECISIONS, "declared", "mlflow", "keys")]
    for one in (file, registry):
        paths += [one.with_name(one.name + end) for end in ("", "-wal", "-shm")] if one else []
    paths += [
        path for one, path in _targets(settings, made) if not one.path.startswith(f"{STATE}/") and not _is(path, one)
    ]
    for path in paths:
        if path.exists():
            shutil.move(path, aside / path.name)
    keys = aside / "keys"
    if keys.is_dir():  # keys that were trusted here stay so: rows they signed may be in what is moved back later
        shutil.copytree(keys, settings.state_dir / "keys")
    return aside


def _restore_files(settings: Settings, store: Store, made: Manifest) -> None:
    targets = list(_targets(settings, made))
    needed = sum(one.bytes for one, path in targets if not _is(path, one))
    free = shutil.disk_usage(settings.state_dir).free
    if needed > free:
        raise RestoreError(
            f"{settings.state_dir} has {free / 1e6:,.0f} MB free; the backup needs {needed / 1e6:,.0f} MB"
        )
    for one, path in targets:
        if _is(path, one):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(store, one, path)


def _write(store: Store, one: Kept, path: Path) -> None:
    """Write a file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.restoring")
    whole = hashlib.sha256()
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for content in manifest.assemble(store, one):
                whole.update(content)
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if whole.hexdigest() != one.sha256:
            raise RestoreError(
                f"{one.path}: the backup's pieces make another file than was kept; restore an earlier backup"
            )
        temporary.chmod(one.mode)
        temporary.replace(path)
    except OSError as error:
        raise RestoreError(
            f"{path} cannot be written: {error.strerror}; run the same command again after that"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _is(path: Path, one: Kept) -> bool:
    if not path.is_file() or path.stat().st_size != one.bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == one.sha256
