"""The names of `marina.database.tables.POSITIONS`: how far what comes in has been taken over.

``FOLDER spool KEY`` and ``FOLDER access KEY`` are bytes of a file, ``REPLICA count dropped`` and ``REPLICA count
malformed`` numbers of lines, ``early labels unknown`` one of labels, ``REPLICA warnings MODEL VERSION`` of warnings in
answers, ``shadow/MODEL/VERSION`` and ``retention/KIND`` milliseconds since 1970. Files belong to a folder, and not to
the server's name: a server that takes the folder under another name continues where its files were left.
"""

import contextlib
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import POSITIONS
from marina.processes.files import write_atomically

FOLDER_ID = "folder_id"
LONGEST = 255
"""Characters of a name, as the table has room for."""
OF_SHADOWS = "shadow/"

_DROPPED, _MALFORMED, _WARNINGS = " count dropped", " count malformed", " warnings "
_UNKNOWN = "early labels unknown"


def folder_id(folder: Path) -> str:
    """Return what tells a folder from every other, wherever it is moved; made by its first collector, and kept in it.

    Raises
    ------
    OSError
        When it cannot be kept.
    """
    path = folder / FOLDER_ID
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    write_atomically(path, uuid.uuid4().hex, durable=True)
    return path.read_text()


def of_folder(connection: sa.Connection, folder: str) -> dict[str, int]:
    """Return the positions in a folder's files."""
    mine = POSITIONS.c.source.startswith(f"{folder} ", autoescape=True)
    return {row.source: row.position for row in connection.execute(sa.select(POSITIONS).where(mine))}


def of_shadow(model: str, version: str) -> str:
    """Return the name of a shadow version's position."""
    return f"{OF_SHADOWS}{model}/{version}"


def of_retention(kind: str) -> str:
    """Return the name of the time up to which rows of a kind were deleted."""
    return f"retention/{kind}"


def dropped(connection: sa.Connection) -> dict[str, int]:
    """Return how many answers were not logged for want of space, by replica."""
    counts = sa.select(POSITIONS).where(POSITIONS.c.source.endswith(_DROPPED))
    return {row.source.removesuffix(_DROPPED): row.position for row in connection.execute(counts)}


def warned(connection: sa.Connection) -> Counter[tuple[str, str]]:
    """Return how many warnings answers had, by model and version, of all replicas together."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(sa.select(POSITIONS).where(POSITIONS.c.source.contains(_WARNINGS))):
        model, _, version = row.source.rpartition(_WARNINGS)[2].partition(" ")
        counts[model, version] += row.position
    return counts


def add(database: Database, connection: sa.Connection, replica: str, dropped: int, malformed: int) -> None:
    """Add to what a replica has dropped, and to the lines it could not read."""
    _add(database, connection, {replica + _DROPPED: dropped, replica + _MALFORMED: malformed})


def add_warnings(
    database: Database, connection: sa.Connection, replica: str, counts: Mapping[tuple[str, str], int]
) -> None:
    """Add to the warnings that a replica's answers had, by model and version."""
    _add(database, connection, {f"{replica}{_WARNINGS}{model} {version}": n for (model, version), n in counts.items()})


def unknown(connection: sa.Connection) -> int:
    """Return how many early labels were refused when their answers came: they were no classes of the model."""
    return _position(connection, _UNKNOWN)


def count_unknown(database: Database, connection: sa.Connection, count: int) -> None:
    """Add to these; one transaction at a time may."""
    _add(database, connection, {_UNKNOWN: count})


def _add(database: Database, connection: sa.Connection, counts: Mapping[str, int]) -> None:
    for source, count in counts.items():
        if count and len(source) <= LONGEST:
            row = {"source": source, "position": count + _position(connection, source)}
            database.put(connection, POSITIONS, [row])


def _position(connection: sa.Connection, source: str) -> int:
    return connection.execute(sa.select(POSITIONS.c.position).where(POSITIONS.c.source == source)).scalar() or 0
