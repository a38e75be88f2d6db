"""The registry: every built version in MLflow, with its archive, its metrics, and the names it goes by.

A model's versions are those of the registered model of its name. MLflow numbers them 1, 2, 3 … by itself; the version
that an archive bears is the tag ``marina.version``. Aliases say what is live: ``champion``, ``previous``, ``canary``
and ``shadow``. docs/REGISTRY.md shows them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archives.contract import ArchiveError
from archives.store import stored
from archives.tracking_store import connect, quiet

ALIASES = ("champion", "previous", "canary", "shadow")
FOLDER = "archive"
"""Where in its run's artifacts an archive is."""

VERSION, SHA256, METRICS = "marina.version", "marina.sha256", "marina.metrics"


class RegistryError(RuntimeError):
    """The registry does not hold what it should; the message says what was found."""


@dataclass(frozen=True)
class Registered:
    """One version in the registry.

    Attributes
    ----------
    model, version
        As the archive bears them.
    number
        MLflow's own number of it.
    sha256
        Of the whole archive file.
    run_id
        The training run, which has the archive, parameters, metrics and pictures.
    metrics
        On held-out data, as the archive's provenance states them.
    tags
        Whatever else was noted, such as the decision about it.
    """

    model: str
    version: str
    number: str
    sha256: str
    run_id: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def file(self) -> str:
        """The name of its archive."""
        return f"{self.model}-{self.version}.mar"


class Registry:
    """The registered versions of all models.

    The first call of a process imports MLflow, which takes seconds; the others take milliseconds where the database
    is local. Every method raises `RegistryError` when the server cannot be reached.
    """

    def __init__(self, home: Path) -> None:
        """Open nothing yet.

        Parameters
        ----------
        home
            Folder of the local database and artifacts, used unless ``MLFLOW_TRACKING_URI`` names a server.
        """
        self.home = home

    def register(self, archive: Path) -> Registered:
        """Enter a built archive under its model's name, the archive itself as an artifact of the run that made it.

        Done twice, it is entered once; another archive of the same version is entered beside the first.

        Raises
        ------
        RegistryError
            If its provenance names no run of this MLflow.
        archives.contract.ArchiveError
            If it is not an archive, or its file's name is not `<model>-<version>.mar`.
        """
        one, sha256, origin = stored(archive), _digest(archive), _provenance(archive)
        found = self.find(one.model, one.version)
        if found is not None and found.sha256 == sha256:
            return found
        with self._client() as client:
            run_id = str(origin.get("mlflow_run", ""))
            run = _or_none(lambda: client.get_run(run_id)) if run_id else None
            if run is None:
                raise RegistryError(
                    f"{archive.name} was made by the run {run_id or '(none named)'}, which this MLflow does not have. "
                    "Register it where it was trained, or name that server in MLFLOW_TRACKING_URI."
                )
            client.log_artifact(run_id, str(archive), FOLDER)
            if _or_none(lambda: client.get_registered_model(one.model)) is None:
                client.create_registered_model(one.model)
            metrics = {
                name: value for name, value in origin.get("metrics", {}).items() if isinstance(value, int | float)
            }
            tags = {
                VERSION: one.version,
                SHA256: sha256,
                METRICS: json.dumps(metrics),
                "git_commit": str(origin.get("git_commit", "")),
                "data_manifest_sha256": str(origin.get("data_manifest_sha256", "")),
            }
            made = client.create_model_version(one.model, f"{run.info.artifact_uri}/{FOLDER}", run_id, tags=tags)
        return _registered(made)

    def find(self, model: str, version: str) -> Registered | None:
        """Return a version, the one registered last where there are several; None where there is none."""
        with self._client() as client:
            found = client.search_model_versions(f"name = '{model}' AND tags.`{VERSION}` = '{version}'")
        return _registered(max(found, key=lambda one: int(one.version))) if found else None

    def download(self, registered: Registered, folder: Path) -> Path:
        """Bring a version's archive into a folder, whole and with the registered hash, or not at all.

        Raises
        ------
        RegistryError
            If the artifact is not the archive that was registered.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with self._client() as client, tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as part:
            came = Path(client.download_artifacts(registered.run_id, f"{FOLDER}/{registered.file}", part))
            if (sha256 := _digest(came)) != registered.sha256:
                raise RegistryError(
                    f"{registered.file} in run {registered.run_id} has SHA-256 {sha256[:16]}…, "
                    f"{registered.sha256[:16]}… was registered. Somebody changed it: build and register it again."
                )
            return came.replace(folder / registered.file)

    def note(self, registered: Registered, tags: Mapping[str, str]) -> None:
        """Write tags on a version."""
        with self._client() as client:
            for name, value in tags.items():
                client.set_model_version_tag(registered.model, registered.number, name, value)

    def aliases(self, model: str) -> dict[str, str]:
        """Return which version each alias of a model stands for, such as ``{"champion": "2.0"}``."""
        with self._client() as client:
            known = _or_none(lambda: client.get_registered_model(model))
            if known is None:
                return {}
            numbers = {name: str(number) for name, number in known.aliases.items() if name in ALIASES}
            found = {number: client.get_model_version(model, number) for number in set(numbers.values())}
        return {name: found[number].tags[VERSION] for name, number in numbers.items()}

    def follow(
        self,
        model: str,
        champion: str | None = None,
        previous: str | None = None,
        canary: str | None = None,
        shadow: str | None = None,
    ) -> None:
        """Let a model's aliases stand for these versions; an alias without a version is removed.

        May be repeated. A version that was never registered gets no alias: the registry knows nothing of it.
        """
        wanted = dict(zip(ALIASES, (champion, previous, canary, shadow), strict=True))
        versions = {version for version in wanted.values() if version is not None}
        numbers = {version: found.number for version in versions if (found := self.find(model, version)) is not None}
        with self._client() as client:
            known = _or_none(lambda: client.get_registered_model(model))
            if known is None:
                return
            for alias, version in wanted.items():
                number = numbers.get(version or "")
                if number is not None and str(known.aliases.get(alias)) != number:
                    client.set_registered_model_alias(model, alias, number)
                elif number is None and alias in known.aliases:
                    client.delete_registered_model_alias(model, alias)

    @contextlib.contextmanager
    def _client(self) -> Iterator[Any]:
        with quiet():
            from mlflow.exceptions import MlflowException

            try:
                yield self._connected
            except MlflowException as error:
                raise RegistryError(f"MLflow's registry does not do what it is asked: {error}") from error

    @functools.cached_property
    def _connected(self) -> Any:
        return connect(self.home)[0]


def _registered(one: Any) -> Registered:
    tags = dict(one.tags)
    return Registered(
        model=one.name,
        version=tags.pop(VERSION),
        number=str(one.version),
        sha256=tags.pop(SHA256),
        run_id=one.run_id,
        metrics=json.loads(tags.pop(METRICS)),
        tags=tags,
    )


def _or_none(ask: Callable[[], Any]) -> Any:
    """Return what MLflow says of something, None where it has no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _provenance(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            origin: dict[str, Any] = json.loads(archive.read("provenance.json"))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ArchiveError(f"{path}: not an archive of ours ({error!r}). Build it again.") from error
    return origin
