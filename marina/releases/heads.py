"""The ledger's heads: signed by who writes a row, and noted where who writes the database does not reach.

A chain of hashes shows what was changed within it. It cannot show that its end was cut off, or that all of it was
rewritten: anyone who may write the database can do both. So each row's hash is signed with a key that is not in the
database, and each server notes the hashes it has seen in a file of its own. `marina.rollout.audit` compares.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from archives.errors import MarinaError
from archives.keys import Key, KeyFileError, Keyring, own_key, read_keyring
from marina.database.connection import WAIT_MS, Database, DatabaseError
from marina.database.half_restored import check_restored
from marina.database.tables import LEDGER
from marina.releases.ledger import KEY
from marina.settings import Settings

FILE = "ledger.heads"


@dataclass(frozen=True)
class Head:
    """A row's hash, as someone outside the database noted it."""

    seq: int
    hash: str  # or how it begins
    where: str


class HeadsError(MarinaError):
    """The ledger is not what was noted of it; the message names the row."""


def open_database(settings: Settings, wait_ms: int = WAIT_MS, first: bool = False) -> Database:
    """Return the database for a writer of the ledger: what is appended is signed with this installation's key.

    The key is made where it is missing.

    Parameters
    ----------
    settings
        Where database and key are.
    wait_ms, first
        As `Database` takes them.

    Raises
    ------
    marina.database.connection.DatabaseError
        When it, or the key, cannot be used; or while a restore is not at its end.
    """
    try:
        check_restored(settings)
        key = ledger_key(settings)
    except (KeyFileError, OSError) as error:
        raise DatabaseError(f"The ledger cannot be signed: {error}") from error
    return Database(settings.database, wait_ms, first, carried={KEY: key})


def ledger_key(settings: Settings) -> Key:
    """Return the key with which this installation signs the ledger; with it the file of heads is made."""
    if not key_file(settings).exists():
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        os.close(os.open(heads_file(settings), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return own_key(key_file(settings), _keys(settings))


def key_file(settings: Settings) -> Path:
    """Return where that key is kept."""
    return settings.state_dir / "ledger.key"


def heads_file(settings: Settings) -> Path:
    """Return where heads are noted."""
    return settings.state_dir / FILE


def ledger_keyring(settings: Settings) -> Keyring:
    """Return the keys of those who write the ledger: this installation's, and what was put beside it."""
    return read_keyring(_keys(settings))


def _keys(settings: Settings) -> Path:
    return settings.state_dir / "keys" / "ledger"


class Heads:
    """The heads that this server has seen, in a file that is only ever appended to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: Head | None = None
        self._fault = ""

    def follow(self, connection: sa.Connection) -> int:
        """Note what is new in the ledger; return how many rows that are.

        Raises
        ------
        HeadsError
            When the last row that was noted is gone, or has another hash. Nothing is noted then.
        OSError
            When the file cannot be written; what is not noted is noted the next time.
        """
        last = self._last or max(self.read(), key=lambda one: one.seq, default=None)
        seen = last.seq if last else 0
        chosen = sa.select(LEDGER.c.seq, LEDGER.c.hash).where(LEDGER.c.seq >= seen).order_by(LEDGER.c.seq)
        rows = connection.execute(chosen).all()
        if last is not None and (not rows or tuple(rows[0]) != (last.seq, last.hash)):
            raise HeadsError(
                f"row {last.seq} of the ledger is not the one that was noted (python -m marina.rollout ledger verify)"
            )
        new = [row for row in rows if row.seq > seen]
        if new:
            self._append("".join(f"{row.seq} {row.hash}\n" for row in new))
            last = Head(new[-1].seq, new[-1].hash, FILE)
        self._last = last
        return len(new)

    def keep(self, database: Database, report: Callable[[str], None]) -> None:
        """Note what is new; tell, once, when the ledger is not what was noted of it. A full disk can wait.

        Where the file is gone, as after a backup was put in the database's place, all is noted
        from scratch, and that is reported.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            When the database is unavailable.
        """
        try:
            with database.reading() as connection:
                if not self.path.exists():
                    self._last = None
                    self._append("")
                    report(f"THE NOTED HEADS ARE GONE: {self.path} is started again, with the ledger as it is now")
                self.follow(connection)
            self._fault = ""
        except OSError:
            return
        except HeadsError as error:
            if self._fault != str(error):
                self._fault = str(error)
                report(f"THE LEDGER WAS ALTERED: {error}")

    def read(self) -> list[Head]:
        """Return what was noted, in the order in which it was; nothing where there is no file.

        Raises
        ------
        HeadsError
            When a line is none of ours.
        """
        try:
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return []
        return list(self._parse(lines))

    def _parse(self, lines: list[str]) -> Iterator[Head]:
        for number, line in enumerate(lines, 1):
            seq, _, digest = line.partition(" ")
            if seq.isdecimal() and len(digest) == 64:
                yield Head(int(seq), digest, FILE)
            elif number < len(lines) and not lines[number].startswith(line):  # else it was torn by a full disk
                raise HeadsError(f"{self.path}, line {number}: expected a row's number and hash, got {line[:60]!r}")

    def _append(self, text: str) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, (b"\n" if torn else b"") + text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
