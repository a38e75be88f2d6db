"""What a backup consists of: its files, each a list of pieces that are kept by their SHA-256.

The manifest is written last, so a backup is there as a whole or not at all; its name has the hash of its content.
Pieces that a file shares with an earlier backup, or with another file, are kept once.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from marina.pipelines.backup.stores import Store, StoreError

FORMAT = 1
PIECE_BYTES = 1 << 22
"""A file is cut every so many bytes: of a database that grew, pieces that did not change are not copied again."""

FOLDER, OBJECTS = "backups/", "objects/"
_NAME = re.compile(r"(?P<id>\d{8}T\d{6}\.\d{6}Z-(?P<hash>[0-9a-f]{16}))\.json")


@dataclass(frozen=True)
class Kept:
    """One file of a backup.

    Attributes
    ----------
    path
        ``state/…``, ``store/…``, ``signers/…``: below the state folder, the archive store, the folder of signers;
        ``database/…``: what `marina.pipelines.backup.database_copy` made.
    bytes, mode, sha256
        Size, permissions and hash of the whole file.
    pieces
        SHA-256 of each piece, in order.
    """

    path: str
    bytes: int
    mode: int
    sha256: str
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """A backup.

    Attributes
    ----------
    made_at
        When the database was copied, in seconds since 1970.
    replica
        Which server made it.
    database
        How the database was copied: ``kind`` and ``revision`` of its tables.
    head
        ``seq`` and ``hash`` of the ledger's last row in it; empty where the ledger has none.
    live
        The declared versions: by model and version their ``weight`` and ``sha256``.
    files
        What is in it.
    left_out
        What is not, and why; a sentence each.
    """

    made_at: float
    replica: str
    database: Mapping[str, Any]
    head: Mapping[str, Any]
    live: Mapping[str, Mapping[str, Mapping[str, Any]]]
    files: tuple[Kept, ...]
    left_out: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(one.bytes for one in self.files)

    def pieces(self) -> set[str]:
        """Return the hashes of all pieces."""
        return {piece for one in self.files for piece in one.pieces}

    def write(self, store: Store) -> str:
        """Put it into a store; return its id."""
        content = json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1).encode()
        moment = datetime.datetime.fromtimestamp(self.made_at, datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        name = f"{moment}-{hashlib.sha256(content).hexdigest()[:16]}"
        store.put(f"{FOLDER}{name}.json", content)
        return name


def object_name(digest: str) -> str:
    """Return the name under which a piece is kept."""
    return f"{OBJECTS}{digest[:2]}/{digest}"


def ids(store: Store) -> list[str]:
    """Return the ids of a store's backups, the oldest first."""
    found = (_NAME.fullmatch(name.removeprefix(FOLDER)) for name in store.names(FOLDER))
    return sorted(one["id"] for one in found if one)


def read(store: Store, asked: str = "latest") -> tuple[str, Manifest]:
    """Read a backup's manifest, by its id or how that begins; ``latest`` is the newest.

    Raises
    ------
    StoreError
        When there is none, or it was damaged.
    """
    known = ids(store)
    found = known[-1:] if asked == "latest" else [one for one in known if one.startswith(asked)]
    if len(found) != 1:
        if not known:
            raise StoreError(f"There is no backup in {store.place} (python scripts/backup.py run makes one)")
        raise StoreError(
            f"{asked!r} names {len(found)} backups of {store.place}: python scripts/backup.py list shows them"
        )
    content = store.get(f"{FOLDER}{found[0]}.json")
    if hashlib.sha256(content).hexdigest()[:16] != found[0].rpartition("-")[2]:
        raise StoreError(f"{store.place}: the manifest of {found[0]} is damaged: its hash is not the one in its name")
    said = json.loads(content)
    if said["format"] > FORMAT:
        raise StoreError(f"{found[0]} is of format {said['format']}; this Marina reads up to {FORMAT}: use a newer one")
    files = tuple(Kept(**one | {"pieces": tuple(one["pieces"])}) for one in said.pop("files"))
    return found[0], Manifest(**said | {"files": files, "left_out": tuple(said["left_out"])})


def moment_of(name: str) -> float:
    """Return when a backup was made, by its id, in seconds since 1970."""
    moment = datetime.datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S.%fZ")
    return moment.replace(tzinfo=datetime.UTC).timestamp()


def assemble(store: Store, one: Kept) -> Iterator[bytes]:
    """Yield a file's pieces, each compared with its hash.

    Raises
    ------
    StoreError
        When one is missing or damaged.
    """
    for piece in one.pieces:
        content = store.get(object_name(piece))
        if hashlib.sha256(content).hexdigest() != piece:
            raise StoreError(f"{store.place}: {object_name(piece)}, of {one.path}, is damaged")
        yield content
