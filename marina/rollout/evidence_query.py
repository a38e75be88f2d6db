"""Evidence out of the database: what the gateway counted, and what labels say of answers.

What the gateway counted was added up by the collector, per step and client (`marina.events.client_tallies`). Labels
are looked up by when they came, so those that come late find their answer.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from marina.database.tables import (
    CLIENTS,
    EVIDENCE,
    LABELS,
    LOOKS,
    PREDICTIONS,
    ROLLOUTS,
    SHADOW_PAIRS,
    TALLIES,
    TRUTHS,
)
from marina.events.labelled_predictions import IS_RIGHT, Columns, same_instance, select_labelled
from marina.events.losses import Loss, read_losses
from marina.rollout import interim_looks
from marina.rollout.judge.evidence import Arm, Counts, Evidence, Look, Pairs
from marina.rollout.rollouts import Rollout

SETTLED_S = 60.0
"""Labels older than this are seldom added to."""

AGAIN_S = 60.0
"""All labels are counted again after this, or after `RATIO` times what that took, if that is longer."""

RATIO = 200.0

WHOLE = -1
"""The step of looks at labels, which are of the whole rollout."""


def gather(connection: sa.Connection, rollout: Rollout) -> Evidence:
    """Count everything a rollout is judged by.

    Parameters
    ----------
    connection
        To read from.
    rollout
        Whose versions, in which step, and since when.

    Returns
    -------
    Evidence
        Requests for which the gateway chose the version, since the step began; where all are the canary's, stable's are
        those of the step before. Labels of answers that are a label, since the canary was let in; pairs too where both
        versions answered. An answer of which parts are known to be true is right as far as its loss lets it be. Looks
        as they were kept (`due`).
    """
    return _evidence(connection, rollout, _labels(connection, rollout, -math.inf, math.inf))


class EvidenceQuery:
    """Gathers every second, at a cost that does not grow with the length of the rollout.

    Labels older than a minute are kept as they were counted, newer ones are counted again each time, so nothing is
    counted twice. What comes in late among the older is found when all is counted again: every minute where that is
    cheap, and never for more than half a percent of the time. Nothing has to survive the process: the next one begins
    by counting everything.
    """

    def __init__(self) -> None:
        self._settled: dict[str, _Settled] = {}

    def gather(self, connection: sa.Connection, rollout: Rollout, now: float) -> Evidence:
        """Count as the function `gather` does; `now` is in seconds since 1970."""
        settled = self._settled.get(rollout.model)
        known = (rollout.id, rollout.watched_since)
        until = now - SETTLED_S
        if settled is None or settled.known != known or not settled.at <= now < settled.again_at:
            begin = time.perf_counter()
            labels = _labels(connection, rollout, -math.inf, until)
            pause = max(AGAIN_S, RATIO * (time.perf_counter() - begin))
            settled = _Settled(known, now, now + pause, until, labels)
        elif until >= settled.until + SETTLED_S:
            labels = settled.labels + _labels(connection, rollout, settled.until, until)
            settled = dataclasses.replace(settled, until=until, labels=labels)
        self._settled[rollout.model] = settled
        return _evidence(connection, rollout, settled.labels + _labels(connection, rollout, settled.until, math.inf))


@dataclass(frozen=True)
class _Labels:
    """Labels by version and whether they are of a client, and likewise pairs; each right and in all."""

    right: Counter[tuple[str, bool]] = field(default_factory=Counter)  # not always whole
    labelled: Counter[tuple[str, bool]] = field(default_factory=Counter)
    pairs: Mapping[bool, Pairs] = field(default_factory=dict)

    def __add__(self, other: _Labels) -> _Labels:
        pairs = {kind: self.pairs.get(kind, Pairs()) + other.pairs.get(kind, Pairs()) for kind in (False, True)}
        return _Labels(self.right + other.right, self.labelled + other.labelled, pairs)


@dataclass(frozen=True)
class _Settled:
    known: tuple[int, float | None]
    at: float
    again_at: float
    until: float
    labels: _Labels


def due(connection: sa.Connection, rollout: Rollout, evidence: Evidence) -> dict[str, Look]:
    """Take those looks at the clients for which the time has come; they count once they are kept (`keep`).

    Parameters
    ----------
    connection
        To read from.
    rollout, evidence
        Whose, and what is known so far, with the looks before.
    """
    share = rollout.policy.steps[rollout.step].share
    stable, canary, pairs = evidence.stable.of_clients, evidence.canary.of_clients, evidence.pairs_of_clients
    asked = interim_looks.number(stable.requests + canary.requests, share)
    labelled = interim_looks.number(stable.labelled + canary.labelled, share)
    paired = interim_looks.number(pairs.worse + pairs.same + pairs.better, 0.5)
    metric = rollout.policy.test and rollout.policy.test.metric
    wrong: dict[str, sa.ColumnElement[int]] = {"errors": CLIENTS.c.errors, "latency": CLIENTS.c.slow}
    if metric == "errors":
        wrong["failures"] = CLIENTS.c.errors + CLIENTS.c.shared

    def is_due(name: str, number: int) -> bool:
        return number > (evidence.looks[name].number if name in evidence.looks else -1)

    taken = {}
    for name, column in wrong.items():
        if is_due(name, asked):
            of = CLIENTS.c.timed if name == "latency" else CLIENTS.c.requests
            taken[name] = interim_looks.by_rate(asked, _query_requests(connection, rollout, column, of))
    if is_due("accuracy", labelled) and rollout.watched_since is not None:
        taken["accuracy"] = interim_looks.by_rate(labelled, _query_labels(connection, rollout, rollout.watched_since))
    if is_due("pairs", paired):
        taken["pairs"] = interim_looks.by_pairs(paired, _query_pairs(connection, rollout))
    return taken


def keep(connection: sa.Connection, rollout: Rollout, taken: Mapping[str, Look], now: float) -> None:
    """Write looks down in the place of those before; in a writing transaction."""
    for name, look in taken.items():
        key = {"rollout": rollout.id, "step": _step_of(name, rollout), "gate": name}
        mine = sa.and_(*(LOOKS.c[column] == value for column, value in key.items()))
        connection.execute(sa.delete(LOOKS).where(mine))
        seen = json.dumps(look.to_dict(), separators=(",", ":"))
        connection.execute(sa.insert(LOOKS).values(key | {"number": look.number, "time": now, "seen": seen}))


def _step_of(look: str, rollout: Rollout) -> int:
    return WHOLE if look in ("accuracy", "pairs") else rollout.step


def _evidence(connection: sa.Connection, rollout: Rollout, labels: _Labels) -> Evidence:
    pairs, some = labels.pairs.get(False, Pairs()) + labels.pairs.get(True, Pairs()), labels.pairs.get(True, Pairs())
    kept = _looks(connection, rollout)
    if rollout.watched_since is None:
        return Evidence(pairs=pairs, step=rollout.step, pairs_of_clients=some, looks=kept)
    tallied = _tally(connection, rollout)

    def counts(version: str, *sticky: bool) -> dict[str, float]:
        found = tallied.get(version, Counter())
        asked: dict[str, float] = {name: sum(found[kind, name] for kind in sticky) for name in _TALLIED}
        of = {name: sum(getattr(labels, name)[version, kind] for kind in sticky) for name in ("labelled", "right")}
        return asked | of

    stable, canary = (
        Arm(**counts(version, False, True), of_clients=Counts(**counts(version, True)))
        for version in (rollout.stable, rollout.canary)
    )
    shared_s = max(0.0, _last(connection, rollout) - rollout.watched_since)
    return Evidence(stable, canary, pairs, shared_s, rollout.step, some, kept)


_TALLIED = ("requests", "errors", "shared", "timed", "slow")


def _steps(rollout: Rollout) -> dict[str, int]:
    """Return of which step a version's requests are: stable's of the one before, where all are the canary's."""
    alone = rollout.policy.steps[rollout.step].share >= 1
    return {rollout.stable: rollout.step - alone, rollout.canary: rollout.step}


def _of_steps(table: sa.Table, rollout: Rollout) -> sa.ColumnElement[bool]:
    mine = ((table.c.version == version) & (table.c.step == step) for version, step in _steps(rollout).items())
    return (table.c.rollout == rollout.id) & sa.or_(*mine)


def _tally(connection: sa.Connection, rollout: Rollout) -> dict[str, Counter[tuple[bool, str]]]:
    found: dict[str, Counter[tuple[bool, str]]] = {}
    for row in connection.execute(sa.select(TALLIES).where(_of_steps(TALLIES, rollout))):
        counts = found.setdefault(row.version, Counter())
        counts.update({(row.sticky, name): getattr(row, name) for name in _TALLIED})
    return found


def _last(connection: sa.Connection, rollout: Rollout) -> float:
    """Return when stable's last window of traffic began."""
    table = EVIDENCE.c
    newest = sa.select(sa.func.max(table.start)).where(table.model == rollout.model, table.version == rollout.stable)
    return float(connection.execute(newest).scalar_one() or -math.inf)


def _looks(connection: sa.Connection, rollout: Rollout) -> dict[str, Look]:
    wanted = (LOOKS.c.rollout == rollout.id) & LOOKS.c.step.in_((rollout.step, WHOLE))
    rows = connection.execute(sa.select(LOOKS.c.gate, LOOKS.c.seen).where(wanted).order_by(LOOKS.c.gate))
    return {row.gate: Look.from_dict(json.loads(row.seen)) for row in rows}


def _query_requests(
    connection: sa.Connection, rollout: Rollout, wrong: sa.ColumnElement[int], of: sa.ColumnElement[int]
) -> Iterator[interim_looks.Observed]:
    version, clients = CLIENTS.c.version, sa.func.count()
    observed = (
        sa.select(version, wrong, of, clients).where(_of_steps(CLIENTS, rollout), of > 0).group_by(version, wrong, of)
    )
    for row in connection.execute(observed):
        yield interim_looks.Observed(row[0] == rollout.canary, row[1], row[2], row[3])


def _query_labels(connection: sa.Connection, rollout: Rollout, since: float) -> Iterator[interim_looks.Observed]:
    given = PREDICTIONS.c
    counts = _counts(given, rollout, since)
    by_client = (
        select_labelled(given.version, _sum(~IS_RIGHT).label("wrong"), sa.func.count().label("of"), outer=True)
        .where(counts, given.client.is_not(None), given.version.in_((rollout.stable, rollout.canary)))
        .group_by(given.version, given.client)
    ).subquery()
    keys = (by_client.c.version, by_client.c.wrong, by_client.c.of)
    for row in connection.execute(sa.select(*keys, sa.func.count()).group_by(*keys)):
        yield interim_looks.Observed(row[0] == rollout.canary, row[1], row[2], row[3])
    of_clients: dict[tuple[bool, int], list[float]] = {}
    for one in _losses(connection, rollout, since):
        if one.client is not None and one.version in (rollout.stable, rollout.canary):
            of_clients.setdefault((one.version == rollout.canary, one.client), []).append(one.loss)
    for (canary, _), losses in of_clients.items():
        yield interim_looks.Observed(canary, math.fsum(losses), len(losses), 1)


def _query_pairs(connection: sa.Connection, rollout: Rollout) -> Iterator[interim_looks.Paired]:
    given, known = SHADOW_PAIRS.c, LABELS.c
    stable, canary = given.stable_label == known.label, given.shadow_label == known.label
    counts = _sum(stable & ~canary).label("worse"), _sum(canary & ~stable).label("better"), sa.func.count().label("of")
    by_client = (
        sa.select(*counts)
        .join_from(LABELS, SHADOW_PAIRS, same_instance(given), isouter=True)
        .where(_paired(connection, rollout), given.client.is_not(None))
        .group_by(given.client)
    ).subquery()
    keys = (by_client.c.worse, by_client.c.better, by_client.c.of)
    for row in connection.execute(sa.select(*keys, sa.func.count()).group_by(*keys)):
        yield interim_looks.Paired(*row)


def _labels(connection: sa.Connection, rollout: Rollout, low: float, high: float) -> _Labels:
    """Count the labels that came from `low` up to `high`.

    Joins here are outer ones, which begin with the labels: they are few, or are to be read anyway.
    """
    _look_up(connection, each=low > -math.inf)
    found = _Labels(pairs=_pairs(connection, rollout, low, high))
    if rollout.watched_since is None:
        return found
    given, known = PREDICTIONS.c, LABELS.c
    counts, of_client = _counts(given, rollout, rollout.watched_since), given.client.is_not(None).label("of_client")
    asked = (
        select_labelled(
            given.version,
            of_client,
            _sum(counts).label("labelled"),
            _sum(counts & IS_RIGHT).label("right"),
            outer=True,
        )
        .where(*_within(known.time, low, high))
        .group_by(given.version, of_client)
    )
    for row in connection.execute(asked):
        found.labelled[row.version, bool(row.of_client)] = row.labelled
        found.right[row.version, bool(row.of_client)] = row.right
    for one in _losses(connection, rollout, rollout.watched_since, low, high):
        key = one.version, one.client is not None
        found.labelled[key] += 1
        found.right[key] += 1 - one.loss  # type: ignore[assignment]
    return found


def _losses(
    connection: sa.Connection, rollout: Rollout, since: float, low: float = -math.inf, high: float = math.inf
) -> Iterator[Loss]:
    """Return how bad answers were whose truths came from `low` up to `high`; none came before its answer."""
    return read_losses(connection, rollout.model, since, *_within(TRUTHS.c.time, max(low, since - SETTLED_S), high))


def _counts(given: Columns, rollout: Rollout, since: float) -> sa.ColumnElement[bool]:
    """Say which answers a label counts for."""
    return sa.and_(
        given["model"] == rollout.model, given["picked"], given["time"] >= since, given["label"].is_not(None)
    )


def _pairs(connection: sa.Connection, rollout: Rollout, low: float, high: float) -> dict[bool, Pairs]:
    """Compare the answers of both versions to the same requests with the labels that came."""
    given, known = SHADOW_PAIRS.c, LABELS.c
    counts, of_client = _paired(connection, rollout), given.client.is_not(None).label("of_client")
    stable, canary = given.stable_label == known.label, given.shadow_label == known.label
    asked = (
        sa.select(
            of_client,
            _sum(counts).label("all"),
            _sum(counts & stable & ~canary).label("worse"),
            _sum(counts & canary & ~stable).label("better"),
            _sum(counts & ~canary & ~stable).label("wrong"),
        )
        .join_from(LABELS, SHADOW_PAIRS, same_instance(given), isouter=True)
        .where(*_within(known.time, low, high))
        .group_by(of_client)
    )
    rows = connection.execute(asked)
    return {
        bool(row.of_client): Pairs(row.worse, row.all - row.worse - row.better, row.better, row.wrong) for row in rows
    }


def _paired(connection: sa.Connection, rollout: Rollout) -> sa.ColumnElement[bool]:
    """Say which pairs a label counts for."""
    given = SHADOW_PAIRS.c
    return sa.and_(
        given.model == rollout.model,
        given.shadow == rollout.canary,
        given.stable == rollout.stable,
        given.time >= _pairs_since(connection, rollout),
        given.stable_label.is_not(None),
        given.shadow_label.is_not(None),
    )


def _pairs_since(connection: sa.Connection, rollout: Rollout) -> float:
    """Return when the model's last rollout ended, other than a shadow of the same two versions: its pairs count."""
    past = ROLLOUTS.c
    shadow = (past.stable == rollout.stable) & (past.canary == rollout.canary) & (past.phase == "done")
    ended = sa.select(sa.func.max(past.ended_at)).where(past.model == rollout.model, ~shadow)
    return connection.execute(ended).scalar_one() or 0.0


def _look_up(connection: sa.Connection, each: bool) -> None:
    """Have PostgreSQL look each label's answer up by its key where labels are few."""
    if connection.dialect.name == "postgresql":
        allowed = "off" if each else "on"
        connection.exec_driver_sql(f"SET LOCAL enable_hashjoin = {allowed}; SET LOCAL enable_mergejoin = {allowed}")


def _sum(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _within(time: sa.ColumnElement[Any], low: float, high: float) -> list[sa.ColumnElement[bool]]:
    bounds = []
    if low > -math.inf:
        bounds.append(time >= low)
    if high < math.inf:
        bounds.append(time < high)
    return bounds
