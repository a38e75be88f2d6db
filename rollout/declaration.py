"""What should run: model versions and their archives, kept in the database.

TorchServe forgets everything when it ends; the declaration does not. Declared archives are copied, by hash, into a
folder of their own, so that neither a rebuilt nor a deleted file in the store changes what a restart brings back.
"""

import datetime
import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from sqlalchemy import orm

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


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
    """

    model: str
    version: str
    archive: Path
    sha256: str
    weight: float = 1.0
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


class _Base(orm.DeclarativeBase):
    pass


class _Row(_Base):
    __tablename__ = "declarations"

    model: orm.Mapped[str] = orm.mapped_column(sa.String(128), primary_key=True)
    version: orm.Mapped[str] = orm.mapped_column(sa.String(64), primary_key=True)
    archive: orm.Mapped[str] = orm.mapped_column(sa.Text)
    sha256: orm.Mapped[str] = orm.mapped_column(sa.String(64))
    weight: orm.Mapped[float] = orm.mapped_column(sa.Float)
    declared_at: orm.Mapped[datetime.datetime] = orm.mapped_column(sa.DateTime(timezone=True))


class Declaration:
    """The declared versions, in the database, and their archives, in a folder."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._engine = sa.create_engine(database_url)
        except (sa.exc.SQLAlchemyError, ModuleNotFoundError) as error:
            raise DeclarationError(f"MARINA_DATABASE_URL cannot be used: {error}") from error
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _sqlite_waits)
        try:
            _Base.metadata.create_all(self._engine)
        except sa.exc.SQLAlchemyError as error:
            raise DeclarationError(f"The database (MARINA_DATABASE_URL) cannot be used: {error}") from error

    def replace(self, archives: Iterable[Declared]) -> None:
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
        for one in wanted.values():
            self._keep(one)
        now = datetime.datetime.now(datetime.UTC)
        with orm.Session(self._engine) as session, session.begin():
            session.execute(sa.delete(_Row))
            session.add_all(
                _Row(
                    model=one.model,
                    version=one.version,
                    archive=str(one.archive),
                    sha256=one.sha256,
                    weight=one.weight,
                    declared_at=now,
                )
                for one in wanted.values()
            )
        kept = {self._place(one).name for one in wanted.values()}
        for file in self.folder.glob("*.mar"):
            if file.name not in kept:
                file.unlink()

    def read(self) -> Sequence[Declared]:
        """Return what is declared, each with the verified copy of its archive.

        Raises
        ------
        DeclarationError
            When a copy is missing or its hash is not the declared one.
        """
        with orm.Session(self._engine) as session:
            rows = session.scalars(sa.select(_Row).order_by(_Row.model, _Row.version)).all()
            declared = [Declared(row.model, row.version, Path(row.archive), row.sha256, row.weight) for row in rows]
        found = []
        for one in declared:
            place = self._place(one)
            if not place.exists():
                self._keep(one)
            read = read_archive(place)
            if read.sha256 != one.sha256:
                raise DeclarationError(
                    f"{one}: {place} has SHA-256 {read.sha256[:16]}…, {one.sha256[:16]}… was declared. "
                    "Delete it and declare the archive again with --archive."
                )
            found.append(Declared(one.model, one.version, place, one.sha256, one.weight, read.serving))
        return found

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

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


def _sqlite_waits(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA busy_timeout=5000")
