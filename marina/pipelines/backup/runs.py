"""Makes backups, looks through them, and deletes those that are past keeping.

    heads ─> MLflow's database ─> database ─> artifacts, archives, public keys ─> manifest ─> retention

Pieces that the store has are not copied again. A run that is killed leaves pieces without a manifest: earlier backups
are as they were, and the next run uses what it finds.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.backup import file_of
from marina.database.backup_schedule import MARKER
from marina.database.backup_tables import BACKUPS
from marina.database.connection import AWAY, Database, DatabaseError
from marina.database.half_restored import check_restored
from marina.pipelines.backup import contents, manifest
from marina.pipelines.backup.database_copy import copy_database, copy_sqlite
from marina.pipelines.backup.manifest import Kept, Manifest
from marina.pipelines.backup.stores import Store, StoreError
from marina.releases.lease import LEASE_S, RENEW_S, Lease
from marina.settings import Settings

TRIES = 3
"""How often a run begins again where an archive that the database's copy names was deleted meanwhile."""

DAY_S = 86_400.0

LEASE = "backup"
"""The lease of the host that makes one: those that share a PostgreSQL database share the store."""


class BackupRunError(MarinaError):
    """No backup was made; earlier ones are as they were."""


@dataclass
class Made:
    """What came of a run.

    Attributes
    ----------
    name
        Its id.
    manifest
        What is in it.
    new_bytes
        How much of it the store did not have.
    deleted
        Backups that were past keeping.
    not_deleted
        Why nothing, or not all, that is past keeping was deleted; empty where it was.
    seconds
        How long it took.
    """

    name: str
    manifest: Manifest
    new_bytes: int
    deleted: Sequence[str] = ()
    not_deleted: str = ""
    seconds: float = 0.0


@dataclass
class Pieces:
    """Cuts files into pieces, and puts into a store those that it does not have."""

    store: Store
    new_bytes: int = 0
    _seen: set[str] = field(default_factory=set)

    def keep(self, name: str, path: Path) -> Kept:
        """Keep a file under a name."""
        whole, pieces, size = hashlib.sha256(), [], 0
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            while content := file.read(manifest.PIECE_BYTES):
                whole.update(content)
                size += len(content)
                pieces.append(digest := hashlib.sha256(content).hexdigest())
                if digest not in self._seen:
                    self._put(manifest.object_name(digest), content)
                    self._seen.add(digest)
        return Kept(name, size, mode, whole.hexdigest(), tuple(pieces))

    def _put(self, name: str, content: bytes) -> None:
        if self.store.holds(name, content):
            return
        self.store.put(name, content)
        if not self.store.holds(name, content):
            raise StoreError(f"{self.store.place}: {name} is not what was written there: look at that disk")
        self.new_bytes += len(content)


def run(settings: Settings, store: Store, clock: Callable[[], float] = time.time) -> Made:
    """Make a backup, note it in the database, then delete what is past keeping.

    Raises
    ------
    archives.errors.MarinaError
        When none can be made, or another run is under way, here or on a host that shares the database.
    sqlalchemy.exc.SQLAlchemyError
        When PostgreSQL is unavailable.
    """
    check_restored(settings)
    began, watch = clock(), time.monotonic()
    deleted: list[str] = []
    not_deleted = ""
    with _alone(settings) as folder, _leased(settings) as still:
        try:
            name, made, new_bytes = _make(settings, store, folder, began, still)
        except (MarinaError, OSError, sa.exc.SQLAlchemyError) as error:
            _note(settings, store, began, clock(), "failed", "", None, 0, str(error)[:2000])
            raise
        _note(settings, store, began, clock(), "done", name, made, new_bytes, "")
        (settings.state_dir / MARKER).touch()
        try:
            still()
            store.tidy()
            deleted = prune(store, settings.backup_keep_days, settings.backup_keep_least, clock(), still)
        except (MarinaError, OSError, sa.exc.SQLAlchemyError) as error:
            not_deleted = str(error)
            note = f"what is past keeping was not deleted: {not_deleted}"[:2000]
            _note(settings, store, began, clock(), "done", name, made, new_bytes, note)
    return Made(name, made, new_bytes, deleted, not_deleted, time.monotonic() - watch)


def _make(
    settings: Settings, store: Store, folder: Path, now: float, still: Callable[[], None]
) -> tuple[str, Manifest, int]:
    pieces, missing = Pieces(store), ""
    for _ in range(TRIES):
        files = [pieces.keep(name, path) for name, path in contents.first_files(settings)]
        entered = contents.registry_file(settings)
        if entered is not None and entered.is_file():
            copy_sqlite(entered, folder / contents.REGISTRY)
            files.append(pieces.keep(f"{contents.STATE}/{contents.REGISTRY}", folder / contents.REGISTRY))
        copied = copy_database(settings, folder)
        files += [pieces.keep(f"{contents.DATABASE}/{path.name}", path) for path in copied.files]
        files += _keep_rest(pieces, contents.later_files(settings))
        kept = {one.sha256 for one in files}
        gone = [
            f"{model} {version}"
            for model, versions in copied.live.items()
            for version, one in versions.items()
            if one["sha256"] not in kept
        ]
        if not gone:
            database = {"kind": copied.kind, "revision": copied.revision}
            left_out = tuple(contents.left_out(settings))
            made = Manifest(now, settings.replica_name, database, copied.head, copied.live, tuple(files), left_out)
            still()
            return made.write(store), made, pieces.new_bytes
        missing = ", ".join(gone)
    raise BackupRunError(
        f"The archive of {missing}, which is to run, is neither in {settings.state_dir / 'declared'} nor in "
        f"{settings.archive_store}: a restore could not serve it. Put it into the store, and start again"
    )


def _keep_rest(pieces: Pieces, found: Iterable[tuple[str, Path]]) -> Iterator[Kept]:
    for name, path in found:
        with contextlib.suppress(FileNotFoundError):  # it was deleted since it was listed
            yield pieces.keep(name, path)


def verify(store: Store, asked: str = "latest") -> tuple[str, Manifest, list[str]]:
    """Read a backup, every byte of it.

    Returns
    -------
    str, Manifest
        Its id, and what is in it.
    list of str
        What is missing or damaged, a sentence each.
    """
    name, made = manifest.read(store, asked)
    faults = []
    good: set[str] = set()
    for one in made.files:
        whole = hashlib.sha256()
        try:
            for content in manifest.assemble(store, one):
                whole.update(content)
        except StoreError as error:
            faults.append(str(error))
            continue
        good.add(one.sha256)
        if whole.hexdigest() != one.sha256:
            faults.append(f"{one.path}: its pieces make another file than was kept")
    for model, versions in made.live.items():
        faults += [
            f"the archive of {model} {version} is not whole"
            for version, of in versions.items()
            if of["sha256"] not in good
        ]
    return name, made, faults


def prune(store: Store, days: float, least: int, now: float, still: Callable[[], None] = lambda: None) -> list[str]:
    """Delete backups that are past keeping, then pieces older than a day that no backup has; return the former's ids.

    Parameters
    ----------
    still
        Is asked before each deletion, and raises where another host makes a backup now.

    Raises
    ------
    StoreError
        When a manifest that stays cannot be read: then no piece is deleted.
    """
    known = manifest.ids(store)
    old = [name for name in known[: max(0, len(known) - least)] if now - manifest.moment_of(name) > days * DAY_S]
    for name in old:
        still()
        store.delete(f"{manifest.FOLDER}{name}.json")
    needed: set[str] = set()
    for name in known:
        if name not in old:
            needed |= {manifest.object_name(piece) for piece in manifest.read(store, name)[1].pieces()}
    for name, written in store.names(manifest.OBJECTS).items():
        if name not in needed and now - written > DAY_S:  # what is newer may be of a run that has no manifest yet
            still()
            store.delete(name)
    return old


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[Path]:
    """Hold the lock of backups here; yield a folder for copies of databases, which a kill leaves to the next run."""
    if not settings.state_dir.is_dir():
        raise BackupRunError(f"{settings.state_dir} is not there: no server has run here (MARINA_STATE_DIR)")
    descriptor = os.open(settings.state_dir / "backup.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupRunError("Another backup is being made here: wait until it has ended") from None
        for left in settings.state_dir.glob(".backup-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=settings.state_dir) as folder:
            yield Path(folder)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _leased(settings: Settings) -> Iterator[Callable[[], None]]:
    """Hold the lease of backups, renewed by a thread; yield what raises where it was lost.

    Another host's run would delete pieces that this one has put, and not yet named in a manifest. An SQLite database
    is of one host, where the lock's file is enough, and is copied even where its disk is full.
    """
    if file_of(settings) is not None:
        yield lambda: None
        return
    database = Database(settings.database)
    lease = Lease(LEASE, f"{settings.replica_name} {socket.gethostname()} {os.getpid()}")
    over = threading.Event()

    def held(renew: bool) -> bool:
        with database.writing() as connection:
            mine = lease.held(connection)
            return mine and (not renew or lease.take(connection, time.time()))

    def still() -> None:
        if not held(renew=False):
            raise BackupRunError("Another host makes a backup now, since this one stood still: run it again later")

    def renew() -> None:
        while not over.wait(RENEW_S):
            with contextlib.suppress(*AWAY):  # no one else can take it either
                if not held(renew=True):  # never taken back: what was put meanwhile may have been deleted
                    return

    thread = threading.Thread(target=renew, daemon=True)
    try:
        _take(database, lease)
        thread.start()
        try:
            yield still
        finally:
            over.set()
            thread.join()
            with contextlib.suppress(*AWAY), database.writing() as connection:
                lease.give_back(connection)
    finally:
        database.close()


def _take(database: Database, lease: Lease) -> None:
    """Take the lease; one whose holder was killed is free after `LEASE_S`."""
    ends = time.monotonic() + LEASE_S + 2 * RENEW_S
    while True:
        with database.writing() as connection:
            if lease.take(connection, time.time()):
                return
        if time.monotonic() > ends:
            raise BackupRunError("Another host makes a backup of this database: wait until it has ended")
        time.sleep(RENEW_S)


def _note(
    settings: Settings, store: Store, began: float, ended: float, state: str, name: str, made: Manifest | None,
    new_bytes: int, note: str,
) -> None:  # fmt: skip
    """Write a row about a run; a database that cannot take it has other troubles, which are told already."""
    file = file_of(settings)
    if file is not None and not file.exists():
        return
    row = {
        "started_at": began, "replica": settings.replica_name, "ended_at": ended, "state": state,
        "destination": store.place, "name": name, "files": len(made.files) if made else 0,
        "bytes": made.bytes if made else 0, "new_bytes": new_bytes, "note": note,
    }  # fmt: skip
    with contextlib.suppress(*AWAY, DatabaseError):
        database = Database(settings.database)
        database.upgrade()
        with database.writing() as connection:
            database.put(connection, BACKUPS, [row])
        database.close()
