"""Which files a backup holds beside the database, and where each goes when it is restored.

Private keys, tokens and settings are in none: who has a backup can neither sign nor call.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from archives.signatures import SUFFIX
from archives.tracking_store import URI, place
from marina.pipelines.backup.stores import StoreError
from marina.settings import Settings

STATE, STORE, SIGNERS, DATABASE = "state", "store", "signers", "database"
HEADS, DECISIONS, REGISTRY = "ledger.heads", "decisions.jsonl", "mlflow.db"


def registry_file(settings: Settings) -> Path | None:
    """Return MLflow's SQLite file; None where a server or another database keeps runs and versions."""
    uri = os.environ.get(URI, "")
    if not uri:
        return settings.state_dir / REGISTRY
    return Path(str(sa.make_url(uri).database)) if uri.startswith("sqlite:") else None


def left_out(settings: Settings) -> Iterator[str]:
    """Say what is not in a backup although it belongs to the installation."""
    if registry_file(settings) is None:
        yield f"MLflow is kept by {place()}: back it up there, with its artifacts"
    yield "private keys (signing.key, ledger.key), tokens and settings.env: keep them where secrets are kept"
    if any(settings.spool_dir.glob("*")):
        yield "answers that wait in the spool for the database: the next backup has them"


def first_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield what has to be read before the database is: heads that were noted are then rows that the copy has."""
    for name in (HEADS, DECISIONS):
        if (settings.state_dir / name).is_file():
            yield f"{STATE}/{name}", settings.state_dir / name


def later_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield the others, with their names in a backup: what the databases name is there once they were copied."""
    state = settings.state_dir.resolve()
    artifacts = state / "mlflow"
    for path in _below(artifacts):
        yield f"{STATE}/mlflow/{path.relative_to(artifacts).as_posix()}", path
    for folder, name in ((state / "declared", f"{STATE}/declared"), (settings.archive_store.resolve(), STORE)):
        for path in _below(folder):
            if path.parent == folder and path.name.endswith((".mar", f".mar{SUFFIX}")):
                yield f"{name}/{path.name}", path
    for path in _below(state / "keys"):
        yield f"{STATE}/keys/{path.relative_to(state / 'keys').as_posix()}", path
    if settings.signers is not None:
        signers = settings.signers.resolve()
        for path in _below(signers):
            yield f"{SIGNERS}/{path.relative_to(signers).as_posix()}", path


def target_of(settings: Settings, name: str) -> Path:
    """Return where a file of a backup goes.

    Raises
    ------
    StoreError
        When it would be outside the folders of this installation.
    """
    kind, _, below = name.partition("/")
    folders = {STATE: settings.state_dir, STORE: settings.archive_store, SIGNERS: settings.signers_dir}
    registry = registry_file(settings)
    if name == f"{STATE}/{REGISTRY}" and registry is not None:
        return registry.resolve()
    if kind not in folders or not below:
        raise StoreError(f"the backup holds {name!r}, which is of no folder that this Marina knows: use a newer one")
    folder = folders[kind].resolve()
    path = (folder / below).resolve()
    if not path.is_relative_to(folder):
        raise StoreError(f"the backup holds {name!r}, which is outside {folder}: it was not made by Marina")
    return path


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            yield path
