"""The mark of a restore: while it is there, nothing else may work with the state folder.

What is written meanwhile is replaced when the restore comes to its end.
"""

from marina.database.connection import DatabaseError
from marina.settings import Settings

RESTORING = "restoring"
"""File in the state folder from a restore's start until all is restored: the backup's id; empty while what was there is
moved aside."""


class HalfRestoredError(DatabaseError):
    """A restore is under way, or was cut off; the message says how it is continued."""


def check_restored(settings: Settings) -> None:
    """Make sure that no restore into the state folder is under way, nor was cut off.

    Raises
    ------
    HalfRestoredError
        When one is, or was.
    """
    mark = settings.state_dir.absolute() / RESTORING
    if mark.exists():
        name = mark.read_text().strip()
        again = f"--backup {name}" if name else "--force"
        raise HalfRestoredError(
            f"A restore into {mark.parent} is under way, or was cut off. Continue it (and its --destination, if it had "
            f"one): python scripts/backup.py restore {again}"
        )
