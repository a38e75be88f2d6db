"""The store: built `.mar` files in one folder, named `<model>-<version>.mar`."""

import hashlib
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from archives.archive import open_archive, refuse
from archives.certificate import zip_entry
from archives.contract import ArchiveError
from archives.linter import MANIFEST, lint

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


def shelf(folder: Path) -> tuple[list[Stored], list[str]]:
    """Look through the store.

    Returns
    -------
    stored
        Every file that bears an archive's name, whatever is in it, sorted.
    odd
        What is wrong with the others.
    """
    found, odd = [], []
    for path in sorted(folder.glob("*.mar")):
        try:
            one = stored(path)
        except ArchiveError as error:
            foreign = describe_foreign(path)
            odd.append(f"{path.name} {foreign}" if foreign else f"{error}. Rename it, or build it again")
            continue
        if path.is_file():
            found.append(one)
        else:
            odd.append(f"{path.name} {describe_foreign(path)}")
    return sorted(found), odd


def describe_foreign(path: Path) -> str:
    """Say what a file is that is no archive of Marina's, and what to do with it; empty where it may be a damaged one.

    Parameters
    ----------
    path
        Whatever lies there.
    """
    if not path.is_file():
        return "is no file: move it out of the store"
    try:
        if not path.stat().st_size:
            return "is empty: copy it again, or move it out of the store"
        if not zipfile.is_zipfile(path):
            return "is no zip file, so no archive: copy it again, or move it out of the store"
        with zipfile.ZipFile(path) as content:
            members = set(content.namelist())
    except OSError as error:
        return f"cannot be read ({error.strerror}): see its permissions, or move it out of the store"
    except Exception as error:  # whatever a parser makes of bytes that are not ours
        return f"is no readable zip file ({error}): copy it again, or move it out of the store"
    if "contract.json" in members:
        return ""
    if MANIFEST in members:
        return (
            "was made by torch-model-archiver for a TorchServe without Marina (it has no contract.json). To serve its "
            "model here, convert it: make it a family, whose archives are built and registered by scripts/train.py "
            "(docs/ADD_A_FAMILY.md). Else move it out of the store"
        )
    return "is a zip file that holds no model (it has no contract.json): move it out of the store"


def newest(folder: Path) -> list[Stored]:
    """Return the highest version of each model in the store."""
    return list({one.model: one for one in shelf(folder)[0]}.values())


def pack(members: Mapping[str, bytes], path: Path) -> str:
    """Lint a `.mar` whose bytes depend on its members alone, and put it in its place, whole or not at all.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    ArchiveError
        If the linter refuses what was packed; nothing is left behind.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member in sorted(members):
            archive.writestr(zip_entry(member), members[member])
    content = packed.getvalue()
    refuse(path.name, lint(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_readable(path, content)
    return hashlib.sha256(content).hexdigest()


def unpack(path: Path, folder: Path) -> None:
    """Open an archive, then unpack it.

    Raises
    ------
    ArchiveError
        If the linter refuses it; nothing is unpacked.
    """
    open_archive(path).unpack(folder)


def write_readable(path: Path, content: bytes) -> None:
    """Put a file in its place, completely or not at all: readable by all, and safe beside other builders."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
