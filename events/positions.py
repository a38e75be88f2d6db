"""The names of `events.tables.POSITIONS`: how far what comes in has been taken over.

``FOLDER spool KEY`` and ``FOLDER access KEY`` are bytes of a file, ``REPLICA count dropped`` and ``REPLICA count
malformed`` numbers of lines, ``shadow/MODEL/VERSION`` milliseconds since 1970. Files belong to a folder, and not to the
server's name: whoever goes on with the folder under another name goes on where its files were left.
"""

import contextlib
import os
import uuid
from pathlib import Path

import sqlalchemy as sa

from events.database import Database
from events.tables import POSITIONS

FOLDER_ID = "folder_id"
OF_SHADOWS = "shadow/"

_DROPPED, _MALFORMED = " count dropped", " count malformed"


def folder_id(folder: Path) -> str:
    """Return what tells a folder from every other, wherever it is moved; made by its first collector, and kept in it.

    Raises
    ------
    OSError
        When it cannot be kept.
    """
    place = folder / FOLDER_ID
    with contextlib.suppress(FileNotFoundError):
        return place.read_text()
    fresh = place.with_suffix(".new")
    with fresh.open("w") as file:
        file.write(uuid.uuid4().hex)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(place)
    return place.read_text()


def of_folder(connection: sa.Connection, folder: str) -> dict[str, int]:
    """Return the positions in a folder's files."""
    mine = POSITIONS.c.source.startswith(f"{folder} ", autoescape=True)
    return {row.source: row.position for row in connection.execute(sa.select(POSITIONS).where(mine))}


def of_shadow(model: str, version: str) -> str:
    """Return the name of a silent version's position."""
    return f"{OF_SHADOWS}{model}/{version}"


def dropped(connection: sa.Connection) -> dict[str, int]:
    """Return how many answers were not logged for want of space, by replica."""
    counts = sa.select(POSITIONS).where(POSITIONS.c.source.endswith(_DROPPED))
    return {row.source.removesuffix(_DROPPED): row.position for row in connection.execute(counts)}


def add(database: Database, connection: sa.Connection, replica: str, dropped: int, malformed: int) -> None:
    """Add to what a replica has dropped, and to the lines it could not read."""
    for name, count in ((_DROPPED, dropped), (_MALFORMED, malformed)):
        if count:
            source = replica + name
            known = sa.select(POSITIONS.c.position).where(POSITIONS.c.source == source)
            total = count + (connection.execute(known).scalar() or 0)
            database.put(connection, POSITIONS, [{"source": source, "position": total}])
