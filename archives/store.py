"""The store: built `.mar` files in one folder, named `<model>-<version>.mar`."""

import hashlib
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from archives.certificate import zip_entry
from archives.contract import ArchiveError
from archives.linter import refuse_unclean

FILE = re.compile(r"(?P<model>[A-Za-z][A-Za-z0-9_]*)-(?P<version>[0-9]+(\.[0-9]+)*)\.mar")


@dataclass(frozen=True, order=True)
class Stored:
    """One archive of the store; sorts by model, then by version as numbers."""

    model: str
    order: tuple[int, ...]
    path: Path

    @property
    def version(self) -> str:
        """The version as it is written."""
        return ".".join(map(str, self.order))


def stored(path: Path) -> Stored:
    """Read model and version off an archive's file name.

    Raises
    ------
    ArchiveError
        If the name is not `<model>-<version>.mar`.
    """
    match = FILE.fullmatch(path.name)
    if match is None:
        raise ArchiveError(f"{path.name}: expected a name like signflow-1.0.mar (<model>-<version>.mar)")
    return Stored(match["model"], tuple(map(int, match["version"].split("."))), path)


def newest(folder: Path) -> list[Stored]:
    """Return the highest version of each model in the store."""
    return list({one.model: one for one in sorted(map(stored, folder.glob("*.mar")))}.values())


def pack(members: Mapping[str, bytes], path: Path) -> str:
    """Write a `.mar` whose bytes depend on its members alone, lint it, and move it into place.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    ArchiveError
        If the linter refuses what was packed; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    os.close(handle)
    unproven = Path(name)
    try:
        with zipfile.ZipFile(unproven, "w") as archive:
            for member in sorted(members):
                archive.writestr(zip_entry(member), members[member])
        refuse_unclean(unproven)
        digest = hashlib.sha256(unproven.read_bytes()).hexdigest()
        unproven.chmod(0o644)
        unproven.replace(path)
    finally:
        unproven.unlink(missing_ok=True)
    return digest


def unpack(path: Path, folder: Path) -> None:
    """Lint an archive, then unpack it.

    Raises
    ------
    ArchiveError
        If the linter refuses it; nothing is unpacked.
    """
    refuse_unclean(path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
