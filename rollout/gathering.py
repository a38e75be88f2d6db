"""Evidence out of the database: what the gateway counted, and what labels say of answers.

Everything is looked up by when a request came or its label did, so lines and labels that come late find their place.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from events import latencies
from events.tables import EVIDENCE, LABELS, PREDICTIONS, ROLLOUTS, SHADOW_PAIRS
from rollout.evidence import Arm, Evidence, Pairs
from rollout.rollouts import Rollout

FEWEST = 200
"""So many of stable's requests have to be known before their p95 is taken for it."""

SETTLED_S = 60.0
"""What is older than this is seldom added to."""

AGAIN_S = 60.0
"""All is counted again after this, or after `RATIO` times what that took, if that is longer."""

RATIO = 200.0


def gather(connection: sa.Connection, rollout: Rollout) -> Evidence:
    """Count everything a rollout is judged by, since the canary's first whole window.

    Parameters
    ----------
    connection
        To read from.
    rollout
        Whose versions, since when, and what is slow: stable's p95 and the policy's margin.

    Returns
    -------
    Evidence
        Only requests for which the gateway chose the version count. Labels count for answers that are a label; pairs
        too where both versions answered.
    """
    return _gather(connection, rollout, -math.inf, math.inf)


class Gatherer:
    """Gathers every second, at a cost that does not grow with the length of the rollout.

    What is older than a minute is kept as it was counted, what is newer is counted anew each time, so nothing is
    counted twice. What comes in late among the older is found when all is counted again: every minute where that is
    cheap, and never for more than half a percent of the time. Nothing has to survive the process: the next one begins
    by counting everything.
    """

    def __init__(self) -> None:
        self._settled: dict[str, _Settled] = {}

    def gather(self, connection: sa.Connection, rollout: Rollout, now: float) -> Evidence:
        """Count as the function `gather` does; `now` is in seconds since 1970."""
        settled = self._settled.get(rollout.model)
        known = (rollout.id, rollout.watched_since, rollout.stable_p95_ms)
        until = now - SETTLED_S
        if settled is None or settled.known != known or not settled.at <= now < settled.again_at:
            begin = time.perf_counter()
            evidence = _gather(connection, rollout, -math.inf, until)
            pause = max(AGAIN_S, RATIO * (time.perf_counter() - begin))
            settled = _Settled(known, now, now + pause, until, evidence)
        elif until >= settled.until + SETTLED_S:
            evidence = settled.evidence + _gather(connection, rollout, settled.until, until)
            settled = dataclasses.replace(settled, until=until, evidence=evidence)
        self._settled[rollout.model] = settled
        return settled.evidence + _gather(connection, rollout, settled.until, math.inf)


@dataclass(frozen=True)
class _Settled:
    known: tuple[int, float | None, float | None]
    at: float
    again_at: float
    until: float
    evidence: Evidence


def stable_p95(connection: sa.Connection, model: str, version: str, since: float) -> float | None:
    """Return the p95 of a version's requests since a time, in milliseconds; None where they are under `FEWEST`."""
    counts = _windows(connection, model, version, since, math.inf).latencies
    return latencies.quantile(counts, 0.95) if counts.total() >= FEWEST else None


def _gather(connection: sa.Connection, rollout: Rollout, low: float, high: float) -> Evidence:
    """Count the windows that begin, and the labels that came, from `low` up to `high`."""
    _look_up(connection, each=low > -math.inf)
    pairs = _pairs(connection, rollout, low, high)
    since = rollout.watched_since
    if since is None:
        return Evidence(pairs=pairs)
    right = _right(connection, rollout, since, low, high)
    seen = {
        version: _windows(connection, rollout.model, version, max(since, low), high)
        for version in (rollout.stable, rollout.canary)
    }

    def arm(version: str) -> Arm:
        counted, timed, slow = seen[version], 0, 0
        if rollout.stable_p95_ms is not None:
            timed = counted.latencies.total()
            slow = latencies.slower(counted.latencies, rollout.stable_p95_ms + rollout.policy.gates.latency.margin_ms)
        return Arm(counted.requests, counted.errors, timed, slow, *right.get(version, (0, 0)))

    return Evidence(arm(rollout.stable), arm(rollout.canary), pairs, max(0.0, seen[rollout.stable].last - since))


@dataclass(frozen=True)
class _Windows:
    requests: int
    errors: int
    latencies: Counter[int]
    last: float


def _windows(connection: sa.Connection, model: str, version: str, low: float, high: float) -> _Windows:
    table = EVIDENCE.c
    chosen = sa.select(table.start, table.requests, table.errors, table.latencies).where(
        table.model == model, table.version == version, *_within(table.start, low, high, whole=True)
    )
    requests, errors, last = 0, 0, -math.inf
    counts: Counter[int] = Counter()
    for row in connection.execute(chosen):
        requests, errors, last = requests + row.requests, errors + row.errors, max(last, row.start)
        counts.update(latencies.from_json(row.latencies))
    return _Windows(requests, errors, counts, last)


def _right(
    connection: sa.Connection, rollout: Rollout, since: float, low: float, high: float
) -> dict[str, tuple[int, int]]:
    """Return how many labels each version has, and how many of them it had right."""
    given, known = PREDICTIONS.c, LABELS.c
    counts = sa.and_(given.model == rollout.model, given.picked, given.time >= since, given.label.is_not(None))
    asked = (
        sa.select(
            given.version, _sum(counts).label("labelled"), _sum(counts & (given.label == known.label)).label("right")
        )
        .join_from(LABELS, PREDICTIONS, _same_instance(given, known), isouter=True)
        .where(*_within(known.time, low, high))
        .group_by(given.version)
    )
    return {row.version: (row.labelled, row.right) for row in connection.execute(asked)}


def _pairs(connection: sa.Connection, rollout: Rollout, low: float, high: float) -> Pairs:
    """Compare the answers of both versions to the same requests with the labels that came."""
    given, known = SHADOW_PAIRS.c, LABELS.c
    counts = sa.and_(
        given.model == rollout.model,
        given.shadow == rollout.canary,
        given.stable == rollout.stable,
        given.time >= _pairs_since(connection, rollout),
        given.stable_label.is_not(None),
        given.shadow_label.is_not(None),
    )
    stable, canary = given.stable_label == known.label, given.shadow_label == known.label
    asked = (
        sa.select(
            _sum(counts).label("all"),
            _sum(counts & stable & ~canary).label("worse"),
            _sum(counts & canary & ~stable).label("better"),
        )
        .join_from(LABELS, SHADOW_PAIRS, _same_instance(given, known), isouter=True)
        .where(*_within(known.time, low, high))
    )
    seen = connection.execute(asked).one()
    return Pairs(seen.worse, seen.all - seen.worse - seen.better, seen.better)


def _pairs_since(connection: sa.Connection, rollout: Rollout) -> float:
    """Return when the model's last rollout ended, other than a shadow of the same two versions: its pairs count."""
    past = ROLLOUTS.c
    shadow = (past.stable == rollout.stable) & (past.canary == rollout.canary) & (past.phase == "done")
    ended = sa.select(sa.func.max(past.ended_at)).where(past.model == rollout.model, ~shadow)
    return connection.execute(ended).scalar_one() or 0.0


Columns = sa.ColumnCollection[str, sa.Column[Any]]


def _same_instance(given: Columns, known: Columns) -> sa.ColumnElement[bool]:
    """Join answers to labels by nothing but their key: any other condition may tempt a database to read all answers.

    For the same reason the join is an outer one, which begins with the labels. They are few, or are to be read anyway.
    """
    return sa.and_(given["request_id"] == known["request_id"], given["instance"] == known["instance"])


def _look_up(connection: sa.Connection, each: bool) -> None:
    """Have PostgreSQL look each label's answer up by its key where labels are few."""
    if connection.dialect.name == "postgresql":
        allowed = "off" if each else "on"
        connection.exec_driver_sql(f"SET LOCAL enable_hashjoin = {allowed}; SET LOCAL enable_mergejoin = {allowed}")


def _sum(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _within(time: sa.ColumnElement[Any], low: float, high: float, whole: bool = False) -> list[sa.ColumnElement[bool]]:
    """Bound a column; by whole numbers where it holds such, since no index helps to compare them with others."""
    bounds = []
    if low > -math.inf:
        bounds.append(time >= (math.ceil(low) if whole else low))
    if high < math.inf:
        bounds.append(time < (math.ceil(high) if whole else high))
    return bounds
