"""Find the archive of a version that is to be released, and refuse what may not be."""

import os
from pathlib import Path

from archives.linter import refuse_unclean
from archives.registry import Registry
from rollout.declaration import DeclarationError, Declared, read_archive
from rollout.rollouts import RolloutError
from settings import Settings


def asked(name: str) -> tuple[str, str, Path | None]:
    """Return the model and version that a name means, and the archive where the name is a file's.

    Parameters
    ----------
    name
        MODEL:VERSION, or the path of a `.mar` file.

    Raises
    ------
    rollout.declaration.DeclarationError
        When it is neither, or the file cannot be read.
    """
    if name.endswith(".mar"):
        one = read_archive(Path(name))
        return one.model, one.version, Path(name)
    model, separator, version = name.partition(":")
    if not (model and separator and version):
        raise DeclarationError(f"{name!r}: expected MODEL:VERSION, such as signflow:2.0, or the path of a .mar file")
    return model, version, None


def find(settings: Settings, model: str, version: str, archive: Path | None = None, sha256: str = "") -> Declared:
    """Find a version's archive: the one named, else the store's, else the registry's, which is brought to the store.

    Parameters
    ----------
    settings
        Where store and registry are.
    model, version
        Of what.
    archive
        A file to take instead.
    sha256
        The hash it must have; empty for any.

    Raises
    ------
    RolloutError
        When there is none, or it is of another model, version or hash.
    archives.contract.ArchiveError
        When the linter refuses it.
    rollout.declaration.DeclarationError
        When it cannot be read.
    archives.registry.RegistryError
        When the registry has another file than was registered.
    """
    path = archive or settings.archive_store / f"{model}-{version}.mar"
    if archive is None and not path.is_file():
        path = _download(settings, model, version)
    refuse_unclean(path)
    found = read_archive(path)
    if (found.model, found.version) != (model, version):
        raise RolloutError(f"{path} is {found.model} {found.version}; {model} {version} was asked for.")
    if sha256 and found.sha256 != sha256:
        raise RolloutError(
            f"{path} has SHA-256 {found.sha256[:16]}…; what was live as {model} {version} had {sha256[:16]}…. "
            "It was built again since: find the old file, or release the new one under another version."
        )
    return found


def registry(settings: Settings) -> Registry | None:
    """Return the registry, if anything was ever registered here or elsewhere."""
    kept = bool(os.environ.get("MLFLOW_TRACKING_URI")) or (settings.state_dir / "mlflow.db").exists()
    return Registry(settings.state_dir) if kept else None


def _download(settings: Settings, model: str, version: str) -> Path:
    entered = registry(settings)
    registered = entered.find(model, version) if entered else None
    if entered is None or registered is None:
        raise RolloutError(
            f"There is no {model}-{version}.mar in {settings.archive_store}, and the registry knows of none. "
            "Build it (scripts/train.py), or name a file with --archive."
        )
    return entered.download(registered, settings.archive_store)
