"""Find the archive of a version that is to be released, and refuse what may not be."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from archives.archive import Archive, open_archive
from archives.registry import Registry
from archives.signatures import Trust
from archives.store import newest
from marina.releases.declarations import DeclarationError, Declared, copy_name, digest, read_archive
from marina.rollout.rollouts import RolloutError
from marina.settings import Settings


def asked(settings: Settings, name: str) -> tuple[str, str, Path | None]:
    """Return the model and version that a name means, and the archive where the name is a file's.

    Parameters
    ----------
    settings
        Whose archives may run here.
    name
        MODEL:VERSION, MODEL for the newest version in the store, or the path of a `.mar` file.

    Raises
    ------
    marina.releases.declarations.DeclarationError
        When it is none of these, or the file cannot be read or may not run here.
    """
    if name.endswith(".mar"):
        one = read_archive(Path(name), trust=trust(settings))
        return one.model, one.version, Path(name)
    model, separator, version = name.partition(":")
    if separator and model and version:
        return model, version, None
    stored = [one.version for one in newest(settings.archive_store) if one.model == name]
    if not stored:
        raise DeclarationError(
            f"{name!r}: expected MODEL:VERSION, such as signflow:2.0, the name of a model in {settings.archive_store}, "
            "or the path of a .mar file"
        )
    return name, stored[0], None


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
    marina.releases.declarations.DeclarationError
        When it cannot be read, the linter refuses it, or no one who is trusted signed it.
    archives.registry.RegistryError
        When the registry has another file than was registered.
    """
    path = archive or settings.archive_store / f"{model}-{version}.mar"
    with _reached(path):
        if archive is None and not path.is_file():
            path = _download(settings, model, version)
        found = read_archive(path, trust=trust(settings))
    if (found.model, found.version) != (model, version):
        raise RolloutError(f"{path} is {found.model} {found.version}; {model} {version} was requested.")
    if sha256 and found.sha256 != sha256:
        raise RolloutError(
            f"{path} has SHA-256 {found.sha256[:16]}…; what was live as {model} {version} had {sha256[:16]}…. "
            "It was built again since: find the old file, or release the new one under another version."
        )
    return found


@contextlib.contextmanager
def _reached(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RolloutError(
            f"{path} cannot be read, nor brought there from the registry: {error}. Make {path.parent} readable and "
            "writable for this user, with space, or name another folder in MARINA_ARCHIVE_STORE or a file with "
            "--archive."
        ) from error


def opened(settings: Settings, model: str, version: str, sha256: str) -> Archive:
    """Open the one archive that has a hash, wherever it is: a copy that serves, the store, the registry.

    Nothing is brought to the store.

    Raises
    ------
    RolloutError
        When it is nowhere.
    archives.contract.ArchiveError
        When it may not run here.
    archives.registry.RegistryError
        When the registry has another file than was registered.
    """
    stored = settings.archive_store / f"{model}-{version}.mar"
    with _reached(stored), tempfile.TemporaryDirectory(prefix="marina-opened-") as folder:
        copy = settings.state_dir / "declared" / copy_name(model, version, sha256)
        path = next((one for one in (copy, stored) if one.is_file() and digest(one) == sha256), None)
        if path is None:
            entered = registry(settings)
            registered = entered.find(model, version) if entered else None
            if entered is None or registered is None or registered.sha256 != sha256:
                raise RolloutError(
                    f"The archive of {model} {version} with SHA-256 {sha256[:16]}… is neither among the copies that "
                    f"serve here, nor in {settings.archive_store}, nor in the registry."
                )
            path = entered.download(registered, Path(folder))
        archive = open_archive(path)
        trust(settings).signer(archive)
        return archive


def trust(settings: Settings) -> Trust:
    """Return whose archives may run here."""
    return Trust.read(settings.signers_dir, settings.unsigned)


def registry(settings: Settings) -> Registry | None:
    """Return the registry, if anything was ever registered here or elsewhere."""
    kept = bool(os.environ.get("MLFLOW_TRACKING_URI")) or (settings.state_dir / "mlflow.db").exists()
    return Registry(settings.state_dir) if kept else None


def _download(settings: Settings, model: str, version: str) -> Path:
    entered = registry(settings)
    registered = entered.find(model, version) if entered else None
    if entered is None or registered is None:
        raise RolloutError(
            f"There is no {model}-{version}.mar in {settings.archive_store}, and the registry has none. "
            "Build it (scripts/train.py), or name a file with --archive."
        )
    return entered.download(registered, settings.archive_store)
