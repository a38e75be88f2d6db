"""What is too old goes, a few rows at a time, so that nobody waits for it.

Kept for ever are rollouts with their verdicts and approvals, and the ledger: they say why things are as they are, and
are few. So are the positions in the files of a server whose state folder is gone, at most as many as it had files.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from events.database import Database
from events.positions import OF_SHADOWS
from events.tables import EVIDENCE, INPUTS, LABELS, POSITIONS, PREDICTIONS, REPLICAS, SHADOW_PAIRS

BATCH_ROWS = 1000
DAY_S = 86_400.0


@dataclass(frozen=True)
class _Aging:
    """A table whose rows age, and the index that finds the old ones: by `group`, then by time."""

    group: tuple[sa.Column[str], ...]
    time: sa.Column[float] | sa.Column[int]


_INPUTS = _Aging((INPUTS.c.model, INPUTS.c.version), INPUTS.c.time)
_OTHERS = (
    _Aging((PREDICTIONS.c.model, PREDICTIONS.c.version), PREDICTIONS.c.time),
    _Aging((SHADOW_PAIRS.c.model, SHADOW_PAIRS.c.shadow), SHADOW_PAIRS.c.time),
    _Aging((), EVIDENCE.c.start),
    _Aging((), LABELS.c.time),
    _Aging((), REPLICAS.c.seen_at),
)


def forget(database: Database, now: float, retention_days: float, input_retention_days: float) -> Iterator[int]:
    """Delete what is too old, a batch in a transaction of its own each time the iterator is asked.

    Parameters
    ----------
    now
        Seconds since 1970.
    retention_days
        How long predictions, labels, counts, shadow pairs and the reports of servers that are gone are kept.
    input_retention_days
        How long inputs are kept.

    Yields
    ------
    int
        How many rows a batch deleted.
    """
    yield from _forget(database, _INPUTS, now - input_retention_days * DAY_S)
    for table in _OTHERS:
        yield from _forget(database, table, now - retention_days * DAY_S)
    # Nothing can be left to replay from so long ago: neither an input, nor one whose pair was deleted before it.
    yield _forget_shadows(database, now - max(retention_days, input_retention_days) * DAY_S)


def _forget(database: Database, table: _Aging, before: float) -> Iterator[int]:
    group: tuple[str, ...] | None = None
    while (group := _next_group(database, table, group)) is not None:
        mine = sa.and_(
            *(column == value for column, value in zip(table.group, group, strict=True)), table.time < before
        )
        deleted = BATCH_ROWS
        while deleted >= BATCH_ROWS:
            with database.writing() as connection:
                oldest = sa.select(table.time).where(mine).order_by(table.time)
                newest = connection.execute(oldest.offset(BATCH_ROWS - 1).limit(1)).scalar()
                batch = mine if newest is None else sa.and_(mine, table.time <= newest)
                deleted = connection.execute(sa.delete(table.time.table).where(batch)).rowcount
            yield deleted


def _forget_shadows(database: Database, before: float) -> int:
    old = POSITIONS.c.source.startswith(OF_SHADOWS) & (POSITIONS.c.position < int(before * 1000))
    with database.writing() as connection:
        return connection.execute(sa.delete(POSITIONS).where(old)).rowcount


def _next_group(database: Database, table: _Aging, last: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Step through the values of a table's index: cheaper than asking for all distinct ones of a million rows."""
    if not table.group:
        return () if last is None else None
    query = sa.select(*table.group).order_by(*table.group).limit(1)
    if last is not None:
        query = query.where(sa.tuple_(*table.group) > last)
    with database.reading() as connection:
        found = connection.execute(query).first()
    return None if found is None else tuple(found)
