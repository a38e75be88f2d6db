"""Where backups lie: named pieces of bytes, in a folder or in an S3-compatible store."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Protocol

from archives.errors import MarinaError
from marina.settings import Settings


class StoreError(MarinaError):
    """A backup's place cannot be used, or does not have what it should; the message says what to look at."""


class Store(Protocol):
    """Bytes by name; names are relative paths with ``/``."""

    place: str

    def put(self, name: str, content: bytes) -> None:
        """Keep bytes under a name, whole or not at all; they outlive a power cut once this returns."""

    def get(self, name: str) -> bytes:
        """Return them."""

    def holds(self, name: str, content: bytes) -> bool:
        """Say whether these very bytes are kept under a name."""

    def names(self, prefix: str) -> dict[str, float]:
        """Return the names that begin so, with when each was written, in seconds since 1970."""

    def delete(self, name: str) -> None:
        """Delete what is kept under a name, if it is."""

    def tidy(self) -> None:
        """Delete what a kill left half-written; while no one writes."""


class Folder:
    """A store in a folder, readable by its owner alone: a backup holds requests and answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)

    def put(self, name: str, content: bytes) -> None:
        """Keep bytes under a name."""
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(prefix=".part-", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written: {error.strerror}. See that MARINA_BACKUP_DESTINATION is a folder that this "
                "user can write to, with space; earlier backups are as they were"
            ) from error

    def get(self, name: str) -> bytes:
        """Return what is kept under a name."""
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise StoreError(f"{self.path / name} cannot be read: {error.strerror}") from error

    def holds(self, name: str, content: bytes) -> bool:
        """Say whether these very bytes are kept: what is damaged is written again."""
        try:
            with (self.path / name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(content).digest()
        except OSError:
            return False

    def names(self, prefix: str) -> dict[str, float]:
        """Return the names that begin so, with when each was written."""
        found = {}
        for path in sorted((self.path / prefix).rglob("*")) if (self.path / prefix).is_dir() else ():
            if path.is_file() and not path.name.startswith(".part-"):
                found[path.relative_to(self.path).as_posix()] = path.stat().st_mtime
        return found

    def tidy(self) -> None:
        """Delete what a kill left half-written."""
        for path in self.path.rglob(".part-*"):
            path.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Delete what is kept under a name."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path / name} cannot be deleted: {error.strerror}") from error


def open_store(settings: Settings, destination: str = "") -> Store:
    """Return the store that a destination names, the settings' where none is.

    Raises
    ------
    StoreError
        When there is none, or it cannot be what it says.
    """
    destination = destination or settings.backup_destination
    if not destination:
        raise StoreError(
            "There is no place for backups: set MARINA_BACKUP_DESTINATION, or pass --destination, with a folder "
            "(/mnt/backups/marina) or s3://BUCKET/PREFIX"
        )
    if destination.startswith("s3://"):
        from marina.pipelines.backup.s3 import S3

        return S3(destination, settings)
    if "://" in destination:
        raise StoreError(f"{destination!r}: expected a folder or s3://BUCKET/PREFIX")
    return Folder(Path(destination).expanduser().resolve())
