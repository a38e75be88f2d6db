"""Which data it was: content hashes, in a layout DVC reads.

A manifest is the list of files with size, MD5 (what DVC addresses content by) and SHA-256; its own SHA-256 names the
data in an archive's provenance. `dvc_file` gives the text of a ``.dvc`` file, so that ``dvc push`` and ``dvc pull`` can
move the data the manifest means.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 20

LISTING = ".manifest.json"
"""How the name of a listing ends that lies beside its data."""

SYNTHETIC = "synthetic"
"""In place of a path: data that a family generates."""


@dataclass(frozen=True)
class Entry:
    """One file: its path below the data's root in POSIX form, size in bytes, and hashes in hex."""

    path: str
    size: int
    md5: str
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The files of a data set, sorted by path."""

    name: str
    entries: tuple[Entry, ...]

    @property
    def sha256(self) -> str:
        """One hash for all of it: of each file's path and SHA-256, in order."""
        lines = "".join(f"{entry.sha256}  {entry.path}\n" for entry in self.entries)
        return hashlib.sha256(lines.encode()).hexdigest()

    def to_json(self) -> str:
        """Return the manifest as JSON, the same text for the same data."""
        content = {"name": self.name, "sha256": self.sha256, "files": [asdict(entry) for entry in self.entries]}
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    def dvc_file(self) -> str:
        """Return the text of the ``.dvc`` file for this data.

        A single file is addressed by its MD5, a folder by the MD5 of its listing, as DVC 3 does.
        """
        if [entry.path for entry in self.entries] == [self.name]:
            digest, files = self.entries[0].md5, ""
        else:
            listing = json.dumps([{"md5": entry.md5, "relpath": entry.path} for entry in self.entries])
            digest, files = (
                f"{hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest()}.dir",
                (f"\n  nfiles: {len(self.entries)}"),
            )
        size = sum(entry.size for entry in self.entries)
        return f"outs:\n- md5: {digest}\n  size: {size}{files}\n  hash: md5\n  path: {self.name}\n"


def of_files(files: Iterable[Path], root: Path) -> Manifest:
    """Hash files.

    Parameters
    ----------
    files
        The files.
    root
        Their common folder, or the one file itself.
    """
    below = root.parent if root.is_file() else root
    entries = [_entry(file.relative_to(below).as_posix(), _blocks(file)) for file in files]
    return Manifest(root.name, tuple(sorted(entries, key=lambda entry: entry.path)))


def listed(path: Path) -> Manifest | None:
    """Return the manifest that an export wrote beside its data, if the data is still what it lists; None otherwise.

    Parameters
    ----------
    path
        The file, or the folder; beside it may lie ``….manifest.json``.
    """
    try:
        content = json.loads(path.with_name(f"{path.name}{LISTING}").read_text())
        names = {str(one["path"]) for one in content["files"]}
        if path.is_dir() and names != {one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()}:
            return None
        found = of_files([(path if path.is_dir() else path.parent) / name for name in names], path)
        return found if found.sha256 == content["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):  # no listing, or no data
        return None


def of_arrays(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> Manifest:
    """Hash data that never was a file: each array's name, type, shape and values.

    Parameters
    ----------
    arrays
        Numbers, strings or times; no Python objects.
    name
        Of the data.

    Raises
    ------
    TypeError
        If an array holds Python objects: their bytes are addresses.
    """
    return Manifest(name, (_entry(name, _describe(arrays)),))


def _describe(arrays: Mapping[str, npt.NDArray[Any]]) -> Iterator[bytes]:
    for name in sorted(arrays):
        array = arrays[name]
        if array.dtype.hasobject:
            raise TypeError(f"{name}: expected numbers, strings or times, got Python objects; convert them with astype")
        yield json.dumps([name, array.dtype.str, list(array.shape)]).encode()
        yield np.ascontiguousarray(array).tobytes()


def _entry(path: str, blocks: Iterable[bytes]) -> Entry:
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    for block in blocks:
        md5.update(block)
        sha256.update(block)
        size += len(block)
    return Entry(path, size, md5.hexdigest(), sha256.hexdigest())


def _blocks(file: Path) -> Iterable[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            yield block
