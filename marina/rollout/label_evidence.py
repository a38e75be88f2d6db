"""What labels say of answers, for the judge: how many were right, by version, and what clients and pairs fared.

Labels are looked up by when they came, so those that come late find their answer.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from marina.database.tables import LABEL_SETS, LABELS, PREDICTIONS, ROLLOUTS, SHADOW_PAIRS, TRUTHS
from marina.events.labelled_predictions import IS_RIGHT, Columns, same_instance, select_labelled
from marina.events.losses import Loss, read_losses
from marina.rollout import interim_looks
from marina.rollout.judge.evidence import Counts, Pairs
from marina.rollout.rollouts import Rollout

OF_LABELS = ("labelled", "right", "alarms", "hits")

LATE_S = 60.0
"""An answer may be written so much later than what is true of it."""


@dataclass(frozen=True)
class KnownLabels:
    """Labels by version and whether they are of a client, and likewise pairs; what is counted, `Counts` says.

    All but `labelled` need not be whole.
    """

    right: Counter[tuple[str, bool]] = field(default_factory=Counter)
    labelled: Counter[tuple[str, bool]] = field(default_factory=Counter)
    alarms: Counter[tuple[str, bool]] = field(default_factory=Counter)
    hits: Counter[tuple[str, bool]] = field(default_factory=Counter)
    pairs: Mapping[bool, Pairs] = field(default_factory=dict)

    def __add__(self, other: KnownLabels) -> KnownLabels:
        pairs = {kind: self.pairs.get(kind, Pairs()) + other.pairs.get(kind, Pairs()) for kind in (False, True)}
        right, labelled = self.right + other.right, self.labelled + other.labelled
        return KnownLabels(right, labelled, self.alarms + other.alarms, self.hits + other.hits, pairs)


def count_labels(connection: sa.Connection, rollout: Rollout, low: float, high: float) -> KnownLabels:
    """Count the labels that came from `low` up to `high`.

    Joins here are outer ones, which begin with the labels: they are few, or are to be read anyway.
    """
    _look_up(connection, each=low > -math.inf)
    found = KnownLabels(pairs=_pairs(connection, rollout, low, high))
    if rollout.watched_since is None:
        return found
    given, known = PREDICTIONS.c, LABELS.c
    counts, of_client = _counts(given, rollout, rollout.watched_since), given.client.is_not(None).label("of_client")
    alarm, hit = _alarms(connection, rollout)
    asked = (
        select_labelled(
            given.version,
            of_client,
            _sum(counts).label("labelled"),
            _sum(counts & IS_RIGHT).label("right"),
            _sum(counts & alarm).label("alarms"),
            _sum(counts & hit).label("hits"),
            outer=True,
        )
        .where(*_within(known.time, low, high))
        .group_by(given.version, of_client)
    )
    for row in connection.execute(asked):
        for name in OF_LABELS:
            getattr(found, name)[row.version, bool(row.of_client)] = getattr(row, name)
    for one in _losses(connection, rollout, rollout.watched_since, low, high):
        key = one.version, one.client is not None
        found.labelled[key] += 1
        found.right[key] += 1 - one.loss  # type: ignore[assignment]
        if by_f1(rollout):
            found.alarms[key] += one.alarms / one.parts  # type: ignore[assignment]
            found.hits[key] += one.hits / one.parts  # type: ignore[assignment]
    return found


def _losses(
    connection: sa.Connection, rollout: Rollout, since: float, low: float = -math.inf, high: float = math.inf
) -> Iterator[Loss]:
    """Return how bad answers were whose truths came from `low` up to `high`; none came before its answer."""
    return read_losses(connection, rollout.model, since, *_within(TRUTHS.c.time, max(low, since - LATE_S), high))


def by_f1(rollout: Rollout) -> bool:
    """Return whether this is an A/B test by F1."""
    return rollout.policy.test is not None and rollout.policy.test.metric == "f1"


def read_yes(connection: sa.Connection, model: str, *versions: str) -> str | None:
    """Return the second of the two classes that all of some versions have; None where they have others."""
    table = LABEL_SETS.c
    known = sa.select(table.labels).where(table.model == model, table.version.in_(versions)).distinct()
    classes = [json.loads(one) for one in connection.execute(known).scalars()]
    return str(classes[0][1]) if len(classes) == 1 and len(classes[0]) == 2 else None


def _alarms(connection: sa.Connection, rollout: Rollout) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """Say of a label whether it or its answer is yes, and whether both are; of none where the test is not by F1."""
    yes = read_yes(connection, rollout.model, rollout.stable, rollout.canary) if by_f1(rollout) else None
    if yes is None:
        return sa.false(), sa.false()
    said, true = PREDICTIONS.c.label == yes, LABELS.c.label == yes
    return said | true, said & true


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


def count_flags(connection: sa.Connection, model: str, version: str) -> Counts:
    """Count what the F1 of a version's answers is of, over all that the database has."""
    mine = PREDICTIONS.c.model == model, PREDICTIONS.c.version == version
    known = list(read_losses(connection, model, -math.inf, *mine))
    labelled, alarms, hits = (
        len(known),
        *(math.fsum(getattr(one, name) / one.parts for one in known) for name in ("alarms", "hits")),
    )
    if yes := read_yes(connection, model, version):
        said, true = PREDICTIONS.c.label == yes, LABELS.c.label == yes
        columns = (sa.func.count(), _sum(said | true), _sum(said & true))
        row = connection.execute(select_labelled(*columns).where(*mine)).one()
        labelled, alarms, hits = labelled + row[0], alarms + row[1], hits + row[2]
    return Counts(labelled=labelled, alarms=alarms, hits=hits)


def observe_labels(connection: sa.Connection, rollout: Rollout, since: float) -> Iterator[interim_looks.Observed]:
    """Return how many answers of clients were wrong."""
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


def observe_alarms(connection: sa.Connection, rollout: Rollout, since: float) -> Iterator[interim_looks.Observed]:
    """Return how clients fared in a test by F1: what of that which was reported or true was not both."""
    given = PREDICTIONS.c
    alarm, hit = _alarms(connection, rollout)
    mine = given.version.in_((rollout.stable, rollout.canary))
    by_client = (
        select_labelled(given.version, _sum(alarm & ~hit).label("wrong"), _sum(alarm).label("of"), outer=True)
        .where(_counts(given, rollout, since), given.client.is_not(None), mine)
        .group_by(given.version, given.client)
    ).subquery()
    keys = (by_client.c.version, by_client.c.wrong, by_client.c.of)
    asked = sa.select(*keys, sa.func.count()).where(by_client.c.of > 0).group_by(*keys)
    for row in connection.execute(asked):
        yield interim_looks.Observed(row[0] == rollout.canary, row[1], row[2], row[3])
    of_clients: dict[tuple[bool, int], list[float]] = {}
    for one in _losses(connection, rollout, since):
        if one.client is not None and one.alarms and one.version in (rollout.stable, rollout.canary):
            sums = of_clients.setdefault((one.version == rollout.canary, one.client), [0.0, 0.0])
            sums[0] += one.alarms - one.hits
            sums[1] += one.alarms
    for (canary, _), (wrong, of) in of_clients.items():
        yield interim_looks.Observed(canary, wrong, round(of), 1)


def observe_pairs(connection: sa.Connection, rollout: Rollout) -> Iterator[interim_looks.Paired]:
    """Return what clients lost and gained by the canary, in pairs."""
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
