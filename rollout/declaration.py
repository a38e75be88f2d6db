"""What should run: model versions, their archives and their shares of the traffic, kept in the database.

TorchServe forgets everything when it ends; the declaration does not. Whoever releases a version writes it here, and
every supervisor brings its server in line. Declared archives are copied, by hash, into a folder of their own, so that
neither a rebuilt nor a deleted file in the store changes what a restart brings back.
"""

import dataclasses
import getpass
import hashlib
import json
import re
import shutil
import time
import zipfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from events.tables import DECLARATIONS
from rollout import ledger

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
# A canary's clients come first, so that they keep it while its share grows.
NEWEST_FIRST = (DECLARATIONS.c.model, DECLARATIONS.c.declared_at.desc(), DECLARATIONS.c.version.desc())


class DeclarationError(ValueError):
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
    """

    model: str
    version: str
    archive: Path
    sha256: str
    weight: float = 1.0
    input_share: float = 0.0
    serving: Serving = field(default_factory=Serving)

    def __str__(self) -> str:
        return f"{self.model} {self.version}"


def digest(path: Path) -> str:
    """Hash a file by SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_archive(path: Path) -> Declared:
    """Read from a ``.mar`` what is needed to declare it.

    Raises
    ------
    DeclarationError
        When the file is missing, is no archive, or its manifest or model-config.yaml cannot be used.
    """
    if not path.is_file():
        raise DeclarationError(f"{path}: there is no such archive. Build one (make archive), or name another.")
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
            config_name = manifest.get("configFile")
            config = yaml.safe_load(archive.read(config_name)) if config_name else {}
        model, version = str(manifest["modelName"]), str(manifest["modelVersion"])
    except (zipfile.BadZipFile, KeyError, ValueError, yaml.YAMLError) as error:
        raise DeclarationError(f"{path}: not an archive TorchServe can read ({error!r}). Build it again.") from error
    if not NAME.fullmatch(model) or not VERSION.fullmatch(version):
        raise DeclarationError(f"{path}: model {model!r} version {version!r}: letters, digits, '.', '_', '-' expected")
    return Declared(model, version, path, digest(path), serving=_serving(path, config or {}))


def _serving(path: Path, config: dict[str, Any]) -> Serving:
    def number(key: str, default: int, least: int) -> int:
        value = config.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise DeclarationError(
                f"{path}: model-config.yaml: {key}: expected a whole number >= {least}, got {value!r}"
            )
        return value

    return Serving(
        batch_size=number("batchSize", 1, 1),
        max_batch_delay_ms=number("maxBatchDelay", 0, 0),
        workers=number("minWorkers", 1, 1),
        response_timeout_s=number("responseTimeout", 120, 1),
        startup_timeout_s=number("startupTimeout", 120, 1),
        max_retry_timeout_s=number("maxRetryTimeoutInSec", 300, 0),
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
            declared_at=now,
        )
    )


class Declaration:
    """The declared versions, in the database, and their archives, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
            twin = wanted.setdefault((one.model, one.version), one)
            if twin.sha256 != one.sha256:
                raise DeclarationError(
                    f"{one} is in {twin.archive} and, different, in {one.archive}: a version has one archive. "
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
            Declared(row.model, row.version, Path(row.archive), row.sha256, row.weight, row.input_share) for row in rows
        ]

    def fetch(self, one: Declared) -> Declared:
        """Return a declared version with the verified copy of its archive, and how it wants to be served.

        Raises
        ------
        DeclarationError
            When there is no copy and none can be made, or its hash is not the declared one.
        """
        place = self._place(one)
        if not place.exists():
            self._keep(one)
        read = read_archive(place)
        if read.sha256 != one.sha256:
            raise DeclarationError(
                f"{one}: {place} has SHA-256 {read.sha256[:16]}…, {one.sha256[:16]}… was declared. "
                "Delete it and declare the archive again with --archive."
            )
        return dataclasses.replace(one, archive=place, serving=read.serving)

    def forget_others(self, kept: Iterable[Declared]) -> None:
        """Delete the copies of all other versions."""
        names = {self._place(one).name for one in kept}
        for file in self.folder.glob("*.mar"):
            if file.name not in names:
                file.unlink()

    def _declare(self, connection: sa.Connection, archives: Collection[Declared], models: set[str]) -> None:
        now = time.time()
        for one in archives:
            self._keep(one)
            declare(connection, one, now)
        ledger.declared(connection, getpass.getuser(), models | {one.model for one in archives}, now)

    def _place(self, one: Declared) -> Path:
        return self.folder / f"{one.model}-{one.version}-{one.sha256[:12]}.mar"

    def _keep(self, one: Declared) -> None:
        place = self._place(one)
        if place.exists() and digest(place) == one.sha256:
            return
        fresh = place.with_suffix(".part")
        try:
            shutil.copyfile(one.archive, fresh)
        except OSError as error:
            raise DeclarationError(f"{one}: its archive {one.archive} cannot be copied: {error}") from error
        if digest(fresh) != one.sha256:
            fresh.unlink()
            raise DeclarationError(f"{one}: {one.archive} is no longer what was declared. Declare it again.")
        fresh.replace(place)
