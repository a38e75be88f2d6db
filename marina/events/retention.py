"""What is too old goes, a few rows at a time, so that no one waits for it; how far, `retention_horizon` says.

Whatever its age, what open rollouts are judged by stays: answers and counts of their model since the hour before they
began (stable's p95 comes from it), their pairs, and every label since then. A verdict does not change by waiting.

Kept indefinitely are rollouts with their verdicts and approvals, and the ledger: they say why things are as they are,
and are few. So are the positions in the files of a server whose state folder is gone, at most as many as it had files.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import (
    EARLY_LABELS,
    EVIDENCE,
    INPUTS,
    LABELS,
    POSITIONS,
    PREDICTIONS,
    REPLICAS,
    ROLLOUTS,
    SHADOW_PAIRS,
    TRUTHS,
)
from marina.events.client_tallies import forget_ended
from marina.events.labels import KEEP_EARLY_S
from marina.events.offsets import OF_SHADOWS
from marina.events.retention_horizon import DAY_S, Kind, horizon

BATCH_ROWS = 200
BEFORE_S = 3600.0
"""What came so long before a rollout began is evidence too: stable's p95 is taken from it."""

Group = tuple[str, ...]


@dataclass(frozen=True)
class _Aging:
    """A table whose rows age, and the index that finds the old ones: by `group`, then by time."""

    group: tuple[sa.Column[str], ...]
    time: sa.Column[float] | sa.Column[int]


_PREDICTIONS = _Aging((PREDICTIONS.c.model, PREDICTIONS.c.version), PREDICTIONS.c.time)
_EVIDENCE = _Aging((EVIDENCE.c.model, EVIDENCE.c.version), EVIDENCE.c.start)
_PAIRS = _Aging((SHADOW_PAIRS.c.model, SHADOW_PAIRS.c.shadow), SHADOW_PAIRS.c.time)
_LABELS = _Aging((), LABELS.c.time)
_TRUTHS = _Aging((), TRUTHS.c.time)
_INPUTS = _Aging((INPUTS.c.model, INPUTS.c.version), INPUTS.c.time)
_EARLY = _Aging((), EARLY_LABELS.c.time)
_REPLICAS = _Aging((), REPLICAS.c.seen_at)

_ROWS = (_PREDICTIONS, _PAIRS, _EVIDENCE, _LABELS, _TRUTHS, _REPLICAS)
_TELLING = (_PREDICTIONS, _EVIDENCE, _LABELS, _TRUTHS)
"""The newest of these is the newest row: they come of requests, and of nothing that a server does by itself."""


@dataclass(frozen=True)
class _Needed:
    """Since when open rollouts need rows: of a model, of a model's shadow version."""

    models: dict[str, float] = field(default_factory=dict)
    pairs: dict[Group, float] = field(default_factory=dict)

    def before(self, table: _Aging, group: Group, horizon: float) -> float:
        """Return how far a group's rows may go."""
        since: list[float] = []
        if table in (_PREDICTIONS, _EVIDENCE):
            since = [self.models[group[0]]] if group[0] in self.models else []
        elif table is _PAIRS:
            since = [self.pairs[group]] if group in self.pairs else []
        elif table in (_LABELS, _TRUTHS):  # which say nothing of a model
            since = [*self.models.values(), *self.pairs.values()]
        return min([horizon, *since])


def forget(
    database: Database,
    now: float,
    retention_days: float,
    input_retention_days: float,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[int]:
    """Delete what is too old, a batch in a transaction of its own each time the iterator is asked.

    Parameters
    ----------
    now
        Seconds since 1970.
    retention_days
        How long predictions, labels, counts, shadow pairs and the reports of servers that are gone are kept.
    input_retention_days
        How long inputs are kept.
    report
        Takes the reason where nothing may be deleted.

    Yields
    ------
    int
        How many rows a batch deleted.
    """
    yield from forget_ended(database)
    inputs = yield from _run(database, Kind("inputs", input_retention_days * DAY_S), (_INPUTS,), now, report)
    # Of these nothing is reported: half of a day without requests is no news.
    yield from _run(database, Kind("early labels", KEEP_EARLY_S), (_EARLY,), now, lambda _: None)
    rows = yield from _run(database, Kind("rows", retention_days * DAY_S), _ROWS, now, report)
    if inputs is not None and rows is not None:
        # Nothing can be left to replay from so long ago: neither an input, nor one whose pair was deleted before it.
        yield _forget_shadows(database, min(inputs, rows))


def _run(
    database: Database, kind: Kind, tables: tuple[_Aging, ...], now: float, report: Callable[[str], None]
) -> Generator[int, None, float | None]:
    """Delete what is before the horizon; return that."""
    with database.reading() as connection:
        spans = [span for table in _TELLING if (span := _span(connection, table))]
        mine = [span for table in tables if (span := _span(connection, table))]
        needed = _needed(connection)
        reached = kind.reached(connection)
    if not mine or not spans:
        return None
    newest = max(newest for _, newest in spans)
    before = horizon(kind, reached, min(oldest for oldest, _ in mine), newest, now)
    if before is None:
        report(f"no {kind.name} are deleted: the clock is {(now - newest) / DAY_S:.1f} days past the newest answer")
        return None
    for table in tables:
        yield from _forget(database, table, needed, before)
    if reached is None or before > reached:
        with database.writing() as connection:
            kind.reach(database, connection, before)
    return before


def _forget(database: Database, table: _Aging, needed: _Needed, horizon: float) -> Iterator[int]:
    group: Group | None = None
    while True:
        with database.reading() as connection:
            group = _next_group(connection, table, group)
        if group is None:
            return
        mine = sa.and_(_in_group(table, group), table.time < needed.before(table, group, horizon))
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


def _needed(connection: sa.Connection) -> _Needed:
    needed, past = _Needed(), ROLLOUTS.c
    for one in connection.execute(sa.select(ROLLOUTS).where(past.ended_at.is_(None))):
        needed.models[one.model] = min(one.started_at - BEFORE_S, one.watched_since or one.started_at)
        # Pairs of a shadow that it followed count for a canary, as marina.rollout.evidence_query says.
        shadow = (past.stable == one.stable) & (past.canary == one.canary) & (past.phase == "done")
        ended = sa.select(sa.func.max(past.ended_at)).where(past.model == one.model, ~shadow)
        needed.pairs[one.model, one.canary] = connection.execute(ended).scalar() or 0.0
    return needed


def _span(connection: sa.Connection, table: _Aging) -> tuple[float, float] | None:
    """Return the times of a table's oldest and newest row."""
    ends: list[float] = []
    group: Group | None = None
    while (group := _next_group(connection, table, group)) is not None:
        for way in (table.time, table.time.desc()):
            found = sa.select(table.time).where(_in_group(table, group)).order_by(way).limit(1)
            ends += connection.execute(found).scalars()
    return (min(ends), max(ends)) if ends else None


def _in_group(table: _Aging, group: Group) -> sa.ColumnElement[bool]:
    return sa.and_(sa.true(), *(column == value for column, value in zip(table.group, group, strict=True)))


def _next_group(connection: sa.Connection, table: _Aging, last: Group | None) -> Group | None:
    """Step through the values of a table's index: cheaper than asking for all distinct ones of a million rows."""
    if not table.group:
        return () if last is None else None
    query = sa.select(*table.group).order_by(*table.group).limit(1)
    if last is not None:
        query = query.where(sa.tuple_(*table.group) > last)
    found = connection.execute(query).first()
    return None if found is None else tuple(found)
