"""How far deletion may go: by what is in the database, at a pace of its own, never by a clock alone.

A horizon is the time before which rows may go. It lies their retention before the newest row, or before now where that
is earlier; and at most `PACE_S` beyond the horizon of the last run that came to its end, or beyond the oldest row where
that one is newer. Where now is more than half of the retention past the newest row, there is none: no one has asked for
long, or the clock is wrong.

So a clock that is ahead or behind deletes nothing that would not have gone anyway. One by which rows are written as
well costs a day's worth of the oldest rows a run, as long as no one sets it right.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import POSITIONS
from marina.events.offsets import of_retention

DAY_S = 86_400.0
PACE_S = DAY_S


@dataclass(frozen=True)
class Kind:
    """Rows that share a retention.

    Attributes
    ----------
    name
        Of the position that keeps the horizon of their last run, in milliseconds since 1970.
    keep_s
        Their retention in seconds.
    """

    name: str
    keep_s: float

    def reached(self, connection: sa.Connection) -> float | None:
        """Return the horizon of the last run that came to its end; None where there was none."""
        kept = sa.select(POSITIONS.c.position).where(POSITIONS.c.source == of_retention(self.name))
        position = connection.execute(kept).scalar()
        return None if position is None else position / 1000

    def reach(self, database: Database, connection: sa.Connection, horizon: float) -> None:
        """Note that a run came to its end."""
        row = {"source": of_retention(self.name), "position": int(horizon * 1000)}
        database.put(connection, POSITIONS, [row])


def horizon(kind: Kind, reached: float | None, oldest: float, newest: float, now: float) -> float | None:
    """Return the horizon of a run that begins now; None where it may delete nothing.

    Parameters
    ----------
    kind
        Rows that are to go.
    reached
        The horizon of their last run; None where there was none.
    oldest
        Time of the oldest of them, in seconds since 1970, as all times here.
    newest
        Time of the newest row of any kind.
    now
        What the clock says.
    """
    if now > newest + kind.keep_s / 2:
        return None
    start = oldest if reached is None else max(oldest, reached)
    return min(min(now, newest) - kind.keep_s, start + PACE_S)
