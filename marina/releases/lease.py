"""The lease: of all controllers that share a database, one acts.

No two clocks are compared. One that waits takes over once the holder has let the row stand unchanged for `LEASE_S` of
the waiting one's own time. Each transaction of the holder asks first whether the lease is still its own, so one that
was stopped for minutes and continues finds out before it writes.
"""

import time
from collections.abc import Callable

import sqlalchemy as sa

from marina.database.tables import LEASES
from marina.releases import ledger

LEASE_S = 5.0
RENEW_S = 1.0


class Lease:
    """One controller's part in who may act."""

    def __init__(self, name: str, holder: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Want a lease; nothing is written yet.

        Parameters
        ----------
        name
            What only one may do.
        holder
            Who wants to; no two processes may use the same word.
        monotonic
            A clock that is never set, in seconds.
        """
        self.name, self.holder = name, holder
        self._monotonic = monotonic
        self._renewed_at: float | None = None
        self._seen: tuple[str, float] | None = None
        self._seen_at = 0.0

    def due(self) -> bool:
        """Say whether it is time to ask for the lease, or to renew it."""
        return self._renewed_at is None or self._monotonic() - self._renewed_at >= RENEW_S

    def is_recent(self) -> bool:
        """Say whether it was taken or renewed so recently that no one else can have taken it over."""
        return self._renewed_at is not None and self._monotonic() - self._renewed_at < LEASE_S

    def take(self, connection: sa.Connection, now: float) -> bool:
        """Take the lease if no one has it or its holder is silent, or renew it; say whether it is held now.

        Parameters
        ----------
        connection
            A writing transaction.
        now
            Seconds since 1970; only written down for people to read.
        """
        ledger.lock(connection)
        row = connection.execute(sa.select(LEASES.c.holder, LEASES.c.until).where(LEASES.c.name == self.name)).first()
        passed = self._monotonic()
        if row is not None and row.holder != self.holder:
            self._renewed_at = None
            if self._seen != (row.holder, row.until):
                self._seen, self._seen_at = (row.holder, row.until), passed
            if passed - self._seen_at < LEASE_S:
                return False
        connection.execute(sa.delete(LEASES).where(LEASES.c.name == self.name))
        connection.execute(sa.insert(LEASES), {"name": self.name, "holder": self.holder, "until": now + LEASE_S})
        self._renewed_at = passed
        return True

    def held(self, connection: sa.Connection) -> bool:
        """Say, inside the transaction that is about to write, whether the lease is still this one's."""
        ledger.lock(connection)
        holder = connection.execute(sa.select(LEASES.c.holder).where(LEASES.c.name == self.name)).scalar()
        if holder != self.holder:
            self._renewed_at = None
        return holder == self.holder

    def give_back(self, connection: sa.Connection) -> None:
        """Let another take it at once."""
        ledger.lock(connection)
        mine = (LEASES.c.name == self.name, LEASES.c.holder == self.holder)
        connection.execute(sa.delete(LEASES).where(*mine))
