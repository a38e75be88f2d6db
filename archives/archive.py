"""The one way to open a `.mar`: read once, by one descriptor; what is hashed, linted and used are the same bytes."""

import functools
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archives.container import unzip
from archives.contract import ArchiveError, Contract, parse_contract
from archives.linter import MAX_MEMBERS, SERVING, lint, parse_json
from archives.serving import read_serving

MAX_BYTES = 1024**3
"""Largest archive. Members are stored uncompressed, so it unpacks to no more than that."""


@dataclass(frozen=True)
class Archive:
    """An archive that was read, and has passed the linter.

    Attributes
    ----------
    path
        Where it was read. It may be another file by now: go by what is here.
    sha256
        Of the whole file.
    size
        Of the whole file, in bytes.
    members
        Contents by name, as views into what was read.
    """

    path: Path
    sha256: str
    size: int
    members: Mapping[str, memoryview] = field(repr=False, compare=False)

    @functools.cached_property
    def contract(self) -> Contract:
        """Who it is, what it takes and gives."""
        return parse_contract(self.json("contract.json"))

    @property
    def name(self) -> str:
        """The name that its file is to have."""
        return f"{self.contract.model}-{self.contract.version}.mar"

    @property
    def serving(self) -> dict[str, Any]:
        """What its `model-config.yaml` says."""
        return read_serving(self.members[SERVING])

    def json(self, member: str) -> dict[str, Any]:
        """Return what a JSON member says."""
        return parse_json(self.members[member])

    def unpack(self, folder: Path) -> None:
        """Write its members below a folder."""
        for name, content in self.members.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def open_archive(path: Path, known: str = "") -> Archive:
    """Read an archive, and refuse what the linter does not pass.

    Parameters
    ----------
    path
        A `.mar` file.
    known
        SHA-256 of an archive that was opened before: one that has it is not linted again.

    Raises
    ------
    ArchiveError
        Listing every finding. Nothing was unpacked, or written anywhere.
    """
    content = _read(path)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != known:
        refuse(path.name, lint(content))
    return Archive(path, sha256, len(content), unzip(content, MAX_MEMBERS))


def refuse(name: str, findings: list[str]) -> None:
    """Raise an `ArchiveError` that lists what the linter found in the archive of this name, if it found anything."""
    if findings:
        raise ArchiveError(f"{name} may not be deployed:\n" + "\n".join(f"  - {finding}" for finding in findings))


def _read(path: Path) -> bytes:
    """Read a file of bounded size, whatever it is replaced by meanwhile; a pipe or a device is not waited for."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ArchiveError(f"{path} is no file: name a .mar archive")
            if found.st_size > MAX_BYTES:
                raise ArchiveError(f"{path.name} has {found.st_size:,} bytes, at most {MAX_BYTES:,} are allowed")
            content = file.read(found.st_size + 1)
    except IsADirectoryError:
        raise ArchiveError(f"{path} is no file: name a .mar archive") from None
    except FileNotFoundError:
        raise ArchiveError(f"{path} does not exist. Build it (make archive), or name another.") from None
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) != found.st_size:
        raise ArchiveError(f"{path.name} changes while it is read: wait until it is copied")
    return content
