"""What should run: model versions, their archives and their shares of the traffic, kept in the database.

TorchServe forgets everything when it ends; the declaration does not. A command that releases a version writes it here,
and every supervisor brings its server in line. Declared archives are copied, by hash, into a folder of their own, so
that neither a rebuilt nor a deleted file in the store changes what a restart brings back. What a server last knew to be
declared is noted beside them, for a start without the database.
"""

import dataclasses
import getpass
import hashlib
import json
import re
import shutil
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from archives.archive import Archive, open_archive
from archives.contract import ArchiveError
from archives.errors import MarinaError
from archives.signatures import ANYBODY, Trust, signature_path
from marina.database.tables import DECLARATIONS
from marina.processes.files import write_atomically
from marina.releases import ledger
from marina.releases.label_sets import write_label_set
from models.quality.kinds import kind_of

NOTE = "declaration.json"
KEPT = ("model", "version", "archive", "sha256", "weight", "input_share", "signed_by", "workers")
"""What is noted of a declared version."""

SINCE = {"workers": 0}
"""What notes from before there was an entry mean."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
# A canary's clients come first, so that they keep it while its share grows.
NEWEST_FIRST = (DECLARATIONS.c.model, DECLARATIONS.c.declared_at.desc(), DECLARATIONS.c.version.desc())


class DeclarationError(MarinaError, ValueError):
    """Something that cannot be declared; the message says what was expected."""


@dataclass(frozen=True)
class Serving:
    """How an archive wants to be served: what its ``model-config.yaml`` says, and TorchServe's defaults.

    ``max_batch_delay_ms`` 0 (or absent) means: send when idle.
    """

    batch_size: int = 1
    max_batch_delay_ms: int = 0
    workers: int = 1
    response_timeout_s: int = 120
    startup_timeout_s: int = 120
    max_retry_timeout_s: int = 300


@dataclass(frozen=True)
class Declared:
    """One version that should run.

    Attributes
    ----------
    archive
        The archive: where it came from, or, once declared, the copy that serves.
    sha256
        Hash of the whole archive file.
    weight
        Its share of its model's unversioned requests, relative to the other versions'.
    input_share
        The least share of its inputs that are to be logged.
    serving
        How it wants to be served.
    example
        A request body that it answers, in JSON; empty where the archive was not opened.
    signed_by
        Id of the key that vouched for it; empty where none had to.
    workers
        How many workers it is to have; 0 is as many as the archive says.
    labels
        Its classes, empty where its answers are none; None where the archive was not opened.
    truth
        The kind of truth of its answers (`models.quality.kinds`); empty where the archive was not opened.
    """

    model: str
    version: str
    archive: Path
    sha256: str
    weight: float = 1.0
    input_share: float = 0.0
    serving: Serving = field(default_factory=Serving)
    example: bytes = field(default=b"", repr=False)
    signed_by: str = ""
    workers: int = 0
    labels: tuple[str, ...] | None = field(default=None, repr=False)
    truth: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.model} {self.version}"


def digest(path: Path) -> str:
    """Hash a file by SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_archive(path: Path, known: str = "", trust: Trust = ANYBODY) -> Declared:
    """Open a ``.mar``, and read what is needed to declare it.

    Parameters
    ----------
    path
        The file. It is named for the model and version in it, or is a copy that a declaration made.
    known
        The SHA-256 that was declared and that it must have; what has it was linted then. Empty for any.
    trust
        Whose archives may run here; whatever is to run has to pass this.

    Raises
    ------
    DeclarationError
        When the file is missing, the linter refuses it, it is another one, bears the name of another, or is not
        signed by someone who is trusted.
    """
    try:
        archive = open_archive(path, known)
        model, version = archive.contract.model, archive.contract.version
        signed_by = trust.signer(archive)
    except ArchiveError as error:
        raise DeclarationError(str(error)) from error
    if known and archive.sha256 != known:
        raise DeclarationError(
            f"{model} {version}: {path} has SHA-256 {archive.sha256[:16]}…, {known[:16]}… was declared. "
            "Declare the archive again with --archive."
        )
    if path.name not in (archive.name, copy_name(model, version, archive.sha256)):
        raise DeclarationError(f"{path} is {model} {version}: an archive keeps its name, {archive.name}")
    return Declared(
        model,
        version,
        path,
        archive.sha256,
        serving=_serving(archive),
        example=bytes(archive.members["example.json"]),
        signed_by=signed_by,
        labels=archive.contract.labels,
        truth=kind_of(archive.contract.task, archive.contract.labels, archive.contract.thresholds),
    )


def copy_name(model: str, version: str, sha256: str) -> str:
    """Return the name of a declared archive's copy."""
    return f"{model}-{version}-{sha256[:12]}.mar"


def _serving(archive: Archive) -> Serving:
    said = archive.serving
    return Serving(
        batch_size=said.get("batchSize", 1),
        max_batch_delay_ms=said.get("maxBatchDelay", 0),
        workers=said.get("minWorkers", 1),
        response_timeout_s=said.get("responseTimeout", 120),
        startup_timeout_s=said.get("startupTimeout", 120),
        max_retry_timeout_s=said.get("maxRetryTimeoutInSec", 300),
    )


def declare(connection: sa.Connection, one: Declared, now: float) -> None:
    """Write that a version should run, in place of what was declared of it."""
    same = (DECLARATIONS.c.model == one.model, DECLARATIONS.c.version == one.version)
    connection.execute(sa.delete(DECLARATIONS).where(*same))
    connection.execute(
        sa.insert(DECLARATIONS).values(
            model=one.model,
            version=one.version,
            archive=str(one.archive.resolve()),
            sha256=one.sha256,
            weight=one.weight,
            input_share=one.input_share,
            signed_by=one.signed_by,
            workers=one.workers,
            declared_at=now,
        )
    )
    if one.labels is not None:
        write_label_set(connection, one.model, one.version, one.labels, one.truth)


def change(connection: sa.Connection, model: str, version: str | None = None, **values: float) -> None:
    """Change `weight`, `input_share` or `workers` of a declared version; of all of the model where none is named."""
    chosen = [DECLARATIONS.c.model == model]
    chosen += [] if version is None else [DECLARATIONS.c.version == version]
    connection.execute(sa.update(DECLARATIONS).where(*chosen).values(**values))


def withdraw(connection: sa.Connection, model: str, version: str) -> None:
    """Write that a version should no longer run."""
    same = (DECLARATIONS.c.model == model, DECLARATIONS.c.version == version)
    connection.execute(sa.delete(DECLARATIONS).where(*same))


def as_json(declared: Iterable[Declared]) -> list[dict[str, Any]]:
    """Return declared versions as JSON values."""
    return [{name: getattr(one, name) for name in KEPT} | {"archive": str(one.archive)} for one in declared]


def from_json(rows: Iterable[dict[str, Any]]) -> list[Declared]:
    """Return what `as_json` was given.

    Raises
    ------
    DeclarationError
        When it is something else.
    """
    try:
        found = [
            Declared(**{name: (SINCE | row)[name] for name in KEPT} | {"archive": Path(row["archive"])}) for row in rows
        ]
        wrong = [one for one in found if not (NAME.fullmatch(one.model) and VERSION.fullmatch(one.version))]
    except (KeyError, TypeError) as error:
        raise DeclarationError(f"expected declared versions, got something else ({error!r})") from error
    if wrong:
        raise DeclarationError(f"{wrong[0]}: letters, digits, '.', '_', '-' expected in the names of model and version")
    return found


class Declaration:
    """The declared versions, in the database, and their archives, in a folder."""

    def __init__(self, folder: Path, trust: Trust = ANYBODY) -> None:
        self.folder = folder
        self.trust = trust
        folder.mkdir(parents=True, exist_ok=True)

    def replace(self, connection: sa.Connection, archives: Iterable[Declared]) -> None:
        """Declare exactly these versions; whatever else was declared is not any more.

        Raises
        ------
        DeclarationError
            When one version is named twice with different archives, or an archive changes while it is copied.
        """
        wanted: dict[tuple[str, str], Declared] = {}
        for one in archives:
            duplicate = wanted.setdefault((one.model, one.version), one)
            if duplicate.sha256 != one.sha256:
                raise DeclarationError(
                    f"{one} is in {duplicate.archive} and, different, in {one.archive}: a version has one archive. "
                    "Give one of them another version."
                )
        models = set(connection.execute(sa.select(DECLARATIONS.c.model)).scalars())
        connection.execute(sa.delete(DECLARATIONS))
        self._declare(connection, wanted.values(), models)

    def add(self, connection: sa.Connection, archives: Collection[Declared]) -> None:
        """Declare these versions beside what is declared.

        Raises
        ------
        DeclarationError
            When an archive changes while it is copied.
        """
        self._declare(connection, archives, set())

    def read(self, connection: sa.Connection) -> list[Declared]:
        """Return what is declared, the newest first; the archives are where they came from."""
        rows = connection.execute(sa.select(DECLARATIONS).order_by(*NEWEST_FIRST))
        return [
            Declared(
                row.model,
                row.version,
                Path(row.archive),
                row.sha256,
                row.weight,
                row.input_share,
                signed_by=row.signed_by,
                workers=row.workers,
            )
            for row in rows
        ]

    def note(self, declared: Iterable[Declared]) -> None:
        """Note what is declared in a file, which outlives a power cut, for a start without the database.

        Raises
        ------
        OSError
            When there is no room for it; what was noted before stays.
        """
        content = json.dumps({"noted_at": time.time(), "declared": as_json(declared)}, indent=1)
        write_atomically(self.folder / NOTE, content, durable=True)

    def noted(self) -> list[Declared]:
        """Return what was noted last; nothing where nothing was.

        Raises
        ------
        DeclarationError
            When the note cannot be read.
        """
        path = self.folder / NOTE
        try:
            return from_json(json.loads(path.read_text())["declared"])
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DeclarationError(f"{path}: what was served last cannot be read from it: {error}") from error

    def fetch(self, one: Declared) -> Declared:
        """Return a declared version with the verified copy of its archive, and how it wants to be served.

        A copy that is damaged is made again, as one that is missing.

        Raises
        ------
        DeclarationError
            When there is no copy and none can be made, its hash is not the declared one, or no trusted signer
            vouches for it.
        """
        try:
            read = self._read(one)
        except DeclarationError:
            self.keep(one)
            read = self._read(one)
        opened = {name: getattr(read, name) for name in ("archive", "example", "signed_by", "labels", "truth")}
        serving = dataclasses.replace(read.serving, workers=one.workers or read.serving.workers)
        return dataclasses.replace(one, serving=serving, **opened)

    def forget_others(self, kept: Iterable[Declared]) -> None:
        """Delete the copies of all other versions."""
        names = {self._copy_path(one).name for one in kept}
        for file in self.folder.glob("*.mar"):
            if file.name not in names:
                file.unlink()
                signature_path(file).unlink(missing_ok=True)

    def _declare(self, connection: sa.Connection, archives: Collection[Declared], models: set[str]) -> None:
        now = time.time()
        for one in archives:
            self.keep(one)
            declare(connection, one, now)
        ledger.declared(connection, getpass.getuser(), models | {one.model for one in archives}, now)

    def _read(self, one: Declared) -> Declared:
        return read_archive(self._copy_path(one), one.sha256, self.trust)

    def _copy_path(self, one: Declared) -> Path:
        return self.folder / copy_name(one.model, one.version, one.sha256)

    def keep(self, one: Declared) -> None:
        """Copy a version's archive, unless a whole copy is there.

        Raises
        ------
        DeclarationError
            When it cannot be copied, or is no longer what was declared.
        """
        path = self._copy_path(one)
        if not (path.is_file() and digest(path) == one.sha256):
            self._copy(one, path)
        signature = signature_path(one.archive)
        if signature.exists() and one.archive.parent.resolve() != self.folder.resolve():
            try:
                write_atomically(signature_path(path), lambda file: _copy(signature, file), durable=True)
            except OSError as error:
                raise DeclarationError(f"{one}: its signature {signature} cannot be copied: {error}") from error

    def _copy(self, one: Declared, path: Path) -> None:
        damaged = f"{path} is damaged, and " if path.exists() else ""
        try:
            if digest(one.archive) != one.sha256:
                raise DeclarationError(
                    f"{one}: {damaged}{one.archive} is no longer what was declared. Declare it again with --archive."
                )
            write_atomically(path, lambda file: _copy(one.archive, file), durable=True)
            if digest(path) != one.sha256:
                path.unlink()
                raise DeclarationError(f"{one}: {one.archive} was changed while it was copied. Declare it again.")
        except OSError as error:
            raise DeclarationError(f"{one}: {damaged}its archive {one.archive} cannot be copied: {error}") from error


def _copy(source: Path, file: BinaryIO) -> None:
    with source.open("rb") as content:
        shutil.copyfileobj(content, file, 1 << 20)
