"""Batches of what a version answered, from the prediction log: contiguous, each row in one of them."""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from marina.database.tables import EVIDENCE, PREDICTIONS
from marina.monitoring.streams import Requests

HOUR_S = 3600.0

WINDOW_S = 5
"""Errors are counted in windows of this length (`marina.events.access_log`)."""

MOST_ROWS = 20_000
"""A longer stretch is looked at by this many rows that lie evenly in it."""

_COLUMNS = tuple(
    PREDICTIONS.c[name] for name in ("time", "request_id", "instance", "label", "confidence", "client", "summary")
)
_KEY = tuple(PREDICTIONS.c[name] for name in ("time", "request_id", "instance"))


class Cursor(NamedTuple):
    """The last row that was taken: rows are in the order of time, request id and instance."""

    time: float
    request_id: str = ""
    instance: int = -1


@dataclass(frozen=True)
class Taken:
    """A batch.

    Attributes
    ----------
    requests
        What it says.
    start, cursor
        Time of its first row, and its last row.
    """

    requests: Requests
    start: float
    cursor: Cursor


def next_batch(
    connection: sa.Connection,
    model: str,
    version: str,
    after: Cursor,
    names: Sequence[str],
    size: int,
    until: float,
) -> Taken | None:
    """Read the batch after a row: `size` rows, or what came within an hour; a request is never in two batches.

    Parameters
    ----------
    names
        What the version's summaries have, in their order.
    until
        Rows since then are left alone: others with the same times may still be on their way.

    Returns
    -------
    Taken or None
        None while no batch is complete. A row that is written after the batch of its time was taken is in no batch.
    """
    later = (
        PREDICTIONS.c.model == model,
        PREDICTIONS.c.version == version,
        PREDICTIONS.c.time >= after.time,
        sa.tuple_(*_KEY) > sa.tuple_(*(sa.literal(one) for one in after)),
        PREDICTIONS.c.time < until,
    )
    rows = connection.execute(sa.select(*_COLUMNS).where(*later).order_by(*_KEY).limit(size)).all()
    if not rows:
        return None
    end = rows[0].time + HOUR_S
    within = [row for row in rows if row.time < end]
    if len(within) == size:
        last = within[-1]
        rest = (PREDICTIONS.c.time == last.time, PREDICTIONS.c.request_id == last.request_id)
        whole = sa.select(*_COLUMNS).where(*later, *rest, PREDICTIONS.c.instance > last.instance)
        within += connection.execute(whole.order_by(PREDICTIONS.c.instance)).all()
    elif end > until:
        return None
    last = within[-1]
    served, errors = count_errors(connection, model, version, after.time, last.time)
    cursor = Cursor(last.time, last.request_id, last.instance)
    return Taken(_requests(within, names, served, errors), within[0].time, cursor)


def between(
    connection: sa.Connection, model: str, version: str, names: Sequence[str], since: float, until: float
) -> Requests:
    """Read what came in a stretch of time; of very much, rows that lie evenly in it."""
    mine = (
        PREDICTIONS.c.model == model,
        PREDICTIONS.c.version == version,
        PREDICTIONS.c.time >= since,
        PREDICTIONS.c.time < until,
    )
    there = connection.execute(sa.select(sa.func.count()).where(*mine)).scalar_one()
    rows: list[sa.Row[Any]] = []
    if there <= MOST_ROWS:
        rows = list(connection.execute(sa.select(*_COLUMNS).where(*mine).order_by(*_KEY)))
    else:
        every = math.ceil(there / MOST_ROWS)
        place = sa.func.row_number().over(order_by=_KEY).label("place")
        numbered = sa.select(*_COLUMNS, place).where(*mine).subquery()
        rows = list(connection.execute(sa.select(numbered).where(numbered.c.place % every == 0)))
    return _requests(rows, names, *count_errors(connection, model, version, since, until))


def latest(connection: sa.Connection, model: str, version: str, names: Sequence[str], count: int) -> Requests:
    """Read the last answers of a version."""
    mine = (PREDICTIONS.c.model == model, PREDICTIONS.c.version == version)
    newest = sa.select(*_COLUMNS).where(*mine).order_by(PREDICTIONS.c.time.desc()).limit(count)
    return _requests(connection.execute(newest).all(), names, 0, 0)


def sample(
    connection: sa.Connection, model: str, versions: Sequence[str], names: Sequence[str], since: float, until: float,
    stretches: int, each: int,
) -> Requests:  # fmt: skip
    """Read a few answers of each of some equal stretches of time, the last of each, whichever version gave them.

    Parameters
    ----------
    names
        What the versions' summaries have; a summary of another length is left out.
    stretches, each
        Into how many the time is divided, and how many answers of a version are read of each.
    """
    edges = [since + (until - since) * part / stretches for part in range(stretches + 1)]
    given, parts = PREDICTIONS.c, []
    for version in versions:
        for start, end in itertools.pairwise(edges):
            mine = (given.model == model, given.version == version, given.time >= start, given.time < end)
            newest = sa.select(*_COLUMNS).where(*mine).order_by(given.time.desc()).limit(each)
            parts.append(sa.select(newest.subquery()))  # SQLite limits no part of a union otherwise
    return _requests(connection.execute(sa.union_all(*parts)).all() if parts else (), names, 0, 0)


def count_answers(connection: sa.Connection, model: str, version: str, since: float, until: float) -> int:
    """Count the rows of a stretch of time."""
    mine = (PREDICTIONS.c.model == model, PREDICTIONS.c.version == version)
    when = (PREDICTIONS.c.time >= since, PREDICTIONS.c.time < until)
    return connection.execute(sa.select(sa.func.count()).where(*mine, *when)).scalar_one()


def count_errors(connection: sa.Connection, model: str, version: str, since: float, until: float) -> tuple[int, int]:
    """Count requests, and those that failed, in the windows that begin in a stretch of time."""
    sums = sa.select(sa.func.sum(EVIDENCE.c.requests), sa.func.sum(EVIDENCE.c.errors)).where(
        EVIDENCE.c.model == model,
        EVIDENCE.c.version == version,
        EVIDENCE.c.start >= math.floor(since / WINDOW_S) * WINDOW_S,
        EVIDENCE.c.start < math.floor(until / WINDOW_S) * WINDOW_S,
    )
    requests, errors = connection.execute(sums).one()
    return int(requests or 0), int(errors or 0)


def _requests(rows: Sequence[sa.Row[Any]], names: Sequence[str], served: int, errors: int) -> Requests:
    numbers = [_numbers(row.summary, len(names)) for row in rows]
    summary: dict[str, NDArray[np.float32]] = {}
    if any(numbers):  # in a batch in which there are summaries, a row without one has nothing that could be measured
        nothing = [math.nan] * len(names)
        table = np.array([one or nothing for one in numbers], np.float32)
        summary = {name: table[:, place] for place, name in enumerate(names)}
    return Requests(
        summary=summary,
        labels=[row.label for row in rows],
        confidence=np.clip(np.array([math.nan if row.confidence is None else row.confidence for row in rows]), 0, 1),
        groups=_groups(rows),
        served=served,
        errors=min(errors, served),
    )


def _numbers(text: str | None, count: int) -> list[float]:
    """Return a summary's numbers; none where it is no such list."""
    try:
        found = json.loads(text) if text else None
    except ValueError:
        return []
    if not isinstance(found, list) or len(found) != count:
        return []
    return [float(one) if isinstance(one, (int, float)) else math.nan for one in found]


def _groups(rows: Sequence[sa.Row[Any]]) -> NDArray[np.int64]:
    keys = [row.request_id if row.client is None else row.client for row in rows]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.int64)
