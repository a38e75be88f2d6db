"""The registry: every built version in MLflow, with its archive, its metrics, and the names it goes by.

A model's versions are those of the registered model of its name. MLflow numbers them 1, 2, 3 … by itself; the version
that an archive bears is the tag ``marina.version``. Aliases say what is live: ``champion``, ``previous``, ``canary``
and ``shadow``. docs/REGISTRY.md shows them.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archives.archive import open_archive
from archives.contract import NAME, ArchiveError
from archives.contract import VERSION as VERSION_FORM
from archives.errors import MarinaError
from archives.signatures import SUFFIX, signature_path
from archives.tracking_store import TrackingStoreError, connect, explained, quiet

ALIASES = ("champion", "previous", "canary", "shadow")
FOLDER = "archive"
"""Where in its run's artifacts an archive is."""

VERSION, SHA256, METRICS = "marina.version", "marina.sha256", "marina.metrics"


HEAD = "marina.ledger.head"
"""The tag of a model that says how far the ledger was, and its hash."""


class RegistryError(MarinaError):
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
        """Enter a built archive under its model's name, with its signature, both as artifacts of the run that made it.

        Done twice, it is entered once, with the signature that it has by then; another archive of the same version is
        entered beside the first.

        Raises
        ------
        RegistryError
            If its provenance names no run of this MLflow, or that run's artifacts cannot be written.
        archives.contract.ArchiveError
            If it is not an archive, or its file's name is not `<model>-<version>.mar`.
        """
        opened = open_archive(archive)
        one, sha256, origin = opened.contract, opened.sha256, opened.json("provenance.json")
        if archive.name != opened.name:
            raise ArchiveError(f"{archive} is {one.model} {one.version}: an archive keeps its name, {opened.name}")
        found = self.find(one.model, one.version)
        signature = signature_path(archive)
        if found is not None and found.sha256 == sha256:
            if signature.exists():  # a new one, since a key was replaced
                with self._client() as client:
                    _keep(client, found.run_id, signature)
            return found
        with self._client() as client:
            run_id = str(origin.get("mlflow_run", ""))
            run = _or_none(lambda: client.get_run(run_id)) if run_id else None
            if run is None:
                raise RegistryError(
                    f"{archive.name} was made by the run {run_id or '(none named)'}, which this MLflow does not have. "
                    "Register it where it was trained, or name that server in MLFLOW_TRACKING_URI."
                )
            if run.info.lifecycle_stage == "deleted":
                client.restore_run(run_id)  # else MLflow may throw its artifacts away
            for file in (archive, signature):
                if file.exists():
                    _keep(client, run_id, file)
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
        return _find_registered(made)

    def find(self, model: str, version: str) -> Registered | None:
        """Return a version, the one registered last where there are several; None where there is none."""
        if not (NAME.fullmatch(model) and VERSION_FORM.fullmatch(version)):
            return None  # no archive bears such a name, and MLflow may take it for a condition
        with self._client() as client:
            found = client.search_model_versions(f"name = '{model}' AND tags.`{VERSION}` = '{version}'")
        return _find_registered(max(found, key=lambda one: int(one.version))) if found else None

    def newest(self, model: str) -> Registered | None:
        """Return the version of a model that was registered last; None where none was."""
        if not NAME.fullmatch(model):
            return None
        with self._client() as client:
            found = [one for one in client.search_model_versions(f"name = '{model}'") if VERSION in one.tags]
        return _find_registered(max(found, key=lambda one: int(one.version))) if found else None

    def download(self, registered: Registered, folder: Path) -> Path:
        """Bring a version's archive into a folder, whole and with the registered hash, or not at all.

        Its signature comes with it, if there is one. Whether it may run is asked when it is opened.

        Raises
        ------
        RegistryError
            If the artifact is not the archive that was registered.
        OSError
            If the folder cannot be written, or has no space.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with self._client() as client, tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as part:
            kept = {one.path: int(one.file_size or 0) for one in client.list_artifacts(registered.run_id, FOLDER)}
            if (size := kept.get(f"{FOLDER}/{registered.file}")) is None:
                raise RegistryError(
                    f"run {registered.run_id} no longer has {registered.file}: it was deleted in MLflow. Build it and "
                    "register it again."
                )
            if shutil.disk_usage(part).free < size:  # MLflow itself would not say why it failed
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
            came = Path(client.download_artifacts(registered.run_id, f"{FOLDER}/{registered.file}", part))
            if (sha256 := _digest(came)) != registered.sha256:
                raise RegistryError(
                    f"{registered.file} in run {registered.run_id} has SHA-256 {sha256[:16]}…, "
                    f"{registered.sha256[:16]}… was registered. It was changed: build and register it again."
                )
            signature = f"{FOLDER}/{registered.file}{SUFFIX}"
            if signature in kept:
                client.download_artifacts(registered.run_id, signature, part)
                signature_path(came).replace(signature_path(folder / registered.file))
            return came.replace(folder / registered.file)

    def anchor(self, model: str, seq: int, digest: str) -> None:
        """Note the number and the hash of the ledger's last row with a model; nothing where it is not registered."""
        with self._client() as client:
            if _or_none(lambda: client.get_registered_model(model)) is not None:
                client.set_registered_model_tag(model, HEAD, f"{seq} {digest}")

    def anchors(self) -> list[tuple[int, str]]:
        """Return every row of the ledger that was noted, by number and hash."""
        with self._client() as client:
            noted = [one.tags[HEAD].partition(" ") for one in client.search_registered_models() if HEAD in one.tags]
        return [(int(seq), digest) for seq, _, digest in noted if seq.isdecimal()]

    def note(self, registered: Registered, tags: Mapping[str, str]) -> None:
        """Write tags on a version."""
        with self._client() as client:
            for name, value in tags.items():
                client.set_model_version_tag(registered.model, registered.number, name, value)

    def aliases(self, model: str) -> dict[str, str]:
        """Return which version each alias of a model points to, such as ``{"champion": "2.0"}``."""
        with self._client() as client:
            known = _or_none(lambda: client.get_registered_model(model))
            if known is None:
                return {}
            numbers = {name: str(number) for name, number in known.aliases.items() if name in ALIASES}
            found = {number: client.get_model_version(model, number) for number in set(numbers.values())}
        versions = {number: one.tags.get(VERSION) for number, one in found.items()}  # one entered manually has none
        return {name: version for name, number in numbers.items() if (version := versions[number])}

    def follow(
        self,
        model: str,
        champion: str | None = None,
        previous: str | None = None,
        canary: str | None = None,
        shadow: str | None = None,
    ) -> None:
        """Let a model's aliases point to these versions; an alias without a version is removed.

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
        try:
            with quiet(), explained():
                yield self._connected
        except TrackingStoreError as error:
            raise RegistryError(str(error)) from error

    @functools.cached_property
    def _connected(self) -> Any:
        return connect(self.home)[0]


def _keep(client: Any, run_id: str, file: Path) -> None:
    try:
        client.log_artifact(run_id, str(file), FOLDER)
    except OSError as error:
        raise RegistryError(
            f"cannot keep {file.name} among the artifacts of run {run_id}: {error}. Make the folder that its "
            "experiment names in MLflow writable, with space, and register it again."
        ) from error


def _find_registered(one: Any) -> Registered:
    tags = dict(one.tags)
    try:
        return Registered(
            model=one.name,
            version=tags.pop(VERSION),
            number=str(one.version),
            sha256=tags.pop(SHA256),
            run_id=one.run_id,
            metrics=json.loads(tags.pop(METRICS)),
            tags=tags,
        )
    except (KeyError, ValueError) as error:
        raise RegistryError(
            f"version {one.version} of {one.name} in MLflow was not entered by Marina: expected the tags {VERSION}, "
            f"{SHA256} and {METRICS} (JSON), got {sorted(one.tags)}. Delete it there, and register its archive again "
            "(`python scripts/register_archive.py FILE`)"
        ) from error


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
