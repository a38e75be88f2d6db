"""What the versions of an open rollout met since its step began: in all, and by client.

A client is a session (or user) key; the gateway draws a version for each, so each is one draw however much
it asks. Of its key nothing is kept but a hash, and that for no longer than the rollout is open. Requests without a key
are drawn one by one and have no row of their own.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import CLIENTS, LOOKS, ROLLOUTS, TALLIES
from marina.events.access_log import WINDOW_S, Request
from marina.events.latency_histogram import bucket

JUDGED = ("watching", "probation")
"""Phases of a rollout in which it is judged."""

COUNTS = ("requests", "errors", "shared", "timed", "slow")

MOST_CLIENTS = 50_000
"""With so many rows in a step, every second client is left out by its hash, with as many again three in four, and so
on: rows grow with the logarithm of how many clients there are, and both versions' alike."""

LONGEST_KEY = 256
"""Characters of a session's key that tell it from others, as many as the gateway logs."""

BATCH_ROWS = 1000


@dataclass(frozen=True)
class Watched:
    """A rollout whose canary has traffic.

    Attributes
    ----------
    versions
        Stable and canary.
    since
        Start of the first whole window in which the step's share was in force, in seconds since 1970.
    slow
        Bucket of the longest time that is not slow; None while that is not known.
    """

    id: int
    step: int
    versions: frozenset[str]
    since: float
    slow: int | None


Row = list[int]
"""Numbers in the order of `COUNTS`."""

_Where = tuple[Any, ...]
"""The key of a row."""


class Watch:
    """Adds requests to what is known of the open rollouts; one per collector."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int], _Rows] = {}

    def add(self, connection: sa.Connection, replica: str, requests: Iterable[Request]) -> None:
        """Count requests for the rollouts that are open, if their versions are judged; in a writing transaction."""
        watched = read_watched(connection)
        if not watched:
            return
        tallies: dict[_Where, Row] = {}
        clients: dict[tuple[int, int], dict[_Where, Row]] = {(one.id, one.step): {} for one in watched.values()}
        for one in requests:
            rollout = watched.get(one.model)
            if rollout is None or one.version not in rollout.versions or one.time < rollout.since:
                continue
            where = rollout.id, rollout.step, one.version
            _count(tallies.setdefault((*where, bool(one.session), replica), [0] * len(COUNTS)), one, rollout.slow)
            if one.session:
                mine = clients[rollout.id, rollout.step]
                _count(mine.setdefault((*where, client_of(one.session)), [0] * len(COUNTS)), one, rollout.slow)
        self._rows = {key: self._rows.get(key) or _Rows() for key in clients}
        _add(connection, TALLIES, tallies)
        for key, rows in clients.items():
            if rows:
                mask = self._rows[key].mask(connection, *key)
                some = {where: counts for where, counts in rows.items() if not where[-1] & mask}
                self._rows[key].added += len(some)
                _add(connection, CLIENTS, some)


@dataclass
class _Rows:
    """How many clients a step has rows of: as last counted, and at most that many more since."""

    counted: int = 0
    added: int = MOST_CLIENTS

    def mask(self, connection: sa.Connection, rollout: int, step: int) -> int:
        """Return which bits of its hash have to be 0 for a client to be counted."""
        if self.added >= MOST_CLIENTS // 10:
            mine = (CLIENTS.c.rollout == rollout) & (CLIENTS.c.step == step)
            self.counted = connection.execute(sa.select(sa.func.count()).select_from(CLIENTS).where(mine)).scalar_one()
            self.added = 0
        return (1 << self.counted // MOST_CLIENTS) - 1


def read_watched(connection: sa.Connection) -> dict[str, Watched]:
    """Return the rollouts whose canaries have traffic, by model."""
    rows = connection.execute(sa.select(ROLLOUTS).where(ROLLOUTS.c.ended_at.is_(None), ROLLOUTS.c.phase.in_(JUDGED)))
    return {row.model: _watched(row) for row in rows if row.watched_since is not None}


def _watched(row: sa.Row[Any]) -> Watched:
    since = max(row.watched_since, math.ceil(row.phase_since / WINDOW_S) * WINDOW_S)
    slow = None
    if row.stable_p95_ms is not None:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a policy that the controller cannot read either
            slow = bucket(row.stable_p95_ms + json.loads(row.policy)["gates"]["latency"]["margin_ms"])
    return Watched(row.id, row.step, frozenset({row.stable, row.canary}), since, slow)


def forget_ended(database: Database) -> Iterator[int]:
    """Delete the clients of rollouts that are over, a batch in a transaction of its own each time it is asked.

    Yields
    ------
    int
        How many rows a batch deleted.
    """
    for table in (CLIENTS, TALLIES, LOOKS):
        over = sa.select(ROLLOUTS.c.id).where(ROLLOUTS.c.id == table.c.rollout, ROLLOUTS.c.ended_at.is_not(None))
        keys = list(table.primary_key.columns)
        some = sa.select(*keys).where(over.exists()).limit(BATCH_ROWS)
        deleted = BATCH_ROWS
        while deleted >= BATCH_ROWS:
            with database.writing() as connection:
                deleted = connection.execute(sa.delete(table).where(sa.tuple_(*keys).in_(some))).rowcount
            yield deleted


def client_of(key: str) -> int:
    """Return what stands for a session: 64 bits of a hash of its key."""
    digest = hashlib.blake2b(key[:LONGEST_KEY].encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _count(counts: Row, one: Request, slow: int | None) -> None:
    counts[0] += 1
    if one.failed:
        counts[2 if one.shared else 1] += 1
    if slow is not None and one.slot is not None:
        if one.slot > slow:
            counts[3] += 1
            counts[4] += 1
        elif one.answered:  # who left before it was slow may have had a fast answer, or a slow one
            counts[3] += 1


def _add(connection: sa.Connection, table: sa.Table, rows: Mapping[_Where, Row]) -> None:
    """Add counts to those that are there, in the words of the driver: a third of what it costs otherwise."""
    if rows:
        keys = ", ".join(column.name for column in table.primary_key.columns)
        placeholder = "%s" if connection.dialect.name == "postgresql" else "?"
        text = (
            f"INSERT INTO {table.name} ({keys}, {', '.join(COUNTS)}) "
            f"VALUES ({', '.join([placeholder] * len(table.columns))}) ON CONFLICT ({keys}) DO UPDATE SET "
            + ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in COUNTS)
        )
        connection.exec_driver_sql(text, [(*where, *rows[where]) for where in sorted(rows)])
