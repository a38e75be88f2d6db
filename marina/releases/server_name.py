"""The name by which the database knows a server: no two that live may share one.

Cloned machines do: same host name, same port. Each would delete what the other reports. So a server notes beside the
name, in `marina.database.tables.LEASES`, who it is, and one that finds that another running one has it takes another
name.
"""

import hashlib
import os
import socket
import uuid
from pathlib import Path

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import LEASES
from marina.releases import replica_status
from marina.settings import Settings

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LONGEST = 56


class Name:
    """One server's name.

    Attributes
    ----------
    name
        As it is now.
    """

    def __init__(self, settings: Settings) -> None:
        self.name = settings.replica_name
        booted = BOOT_ID.read_text() if BOOT_ID.exists() else socket.gethostname()
        # One server at a time works from a state folder: one that did so before, since this machine started, has ended.
        self._place = hashlib.sha256(f"{booted} {settings.state_dir.resolve()}".encode()).hexdigest()[:16]
        self._self = f"process {os.getpid()} on {socket.gethostname()[:48]}, {self._place}, {uuid.uuid4().hex[:16]}"

    def claim(self, database: Database, connection: sa.Connection) -> str:
        """Take the name, or keep it; return who else has it, empty if no one does.

        Parameters
        ----------
        connection
            A writing transaction.
        """
        lease = f"replica {self.name}"
        if len(lease) > LONGEST:
            lease = f"replica {hashlib.sha256(self.name.encode()).hexdigest()[:40]}"
        now = replica_status.clock(connection)
        row = connection.execute(sa.select(LEASES.c.holder, LEASES.c.until).where(LEASES.c.name == lease)).first()
        if row is not None and row.holder != self._self and abs(now - row.until) < replica_status.ALIVE_S:
            who, place, _ = row.holder.split(", ")
            if place != self._place:
                return str(who)
        database.put(connection, LEASES, [{"name": lease, "holder": self._self, "until": now}])
        return ""

    def give_up(self) -> str:
        """Take another name; return it."""
        self.name = f"{self.name[:100]}~{uuid.uuid4().hex[:8]}"
        return self.name
