"""What silent versions have yet to answer, and what they answered: the database's side of shadow traffic.

There is no queue. What waits is every logged input without a pair, so a replay that was cut off is simply still
waiting, and one that is repeated changes nothing. A floor in time keeps the search short: what is older has been
answered, or was left out because more came than can be replayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, INPUTS, POSITIONS, PREDICTIONS, REPLICAS, ROLLOUTS, SHADOW_PAIRS
from marina.events.offsets import of_shadow
from marina.events.predictions import read_prediction
from marina.releases.replica_status import is_alive
from marina.rollout.shadow.replay_client import Input, ShadowAnswer

JSON = "application/json"

LONGEST = 1000
"""This many inputs may wait; of more, the oldest are left out."""
LATE_S = 30.0
"""An input may reach the database this much later than newer ones, and is found still."""


@dataclass(frozen=True)
class Shadowed:
    """A version that is to answer what another one answered to users.

    Attributes
    ----------
    since
        When its rollout began; older inputs are none of its.
    """

    model: str
    stable: str
    shadow: str
    since: float

    @property
    def source(self) -> str:
        """Its name among the positions."""
        return of_shadow(self.model, self.shadow)


@dataclass(frozen=True)
class Waiting:
    """The inputs that wait, oldest first, and the floor below which there are none to look for."""

    inputs: Sequence[Input]
    floor: float
    left_out: bool


def shadowed(connection: sa.Connection, replica: str) -> list[Shadowed]:
    """Return the versions that a replica is to replay to: the first one, by name, of those on which they are ready."""
    ready = [REPLICAS.c.state == "ready", is_alive(connection)]
    first = (
        sa.select(sa.func.min(REPLICAS.c.replica)).where(_same_version(REPLICAS), *ready).correlate(ROLLOUTS)
    ).scalar_subquery()
    rows = connection.execute(
        sa.select(ROLLOUTS.c.model, ROLLOUTS.c.stable, ROLLOUTS.c.canary, ROLLOUTS.c.started_at)
        .join(DECLARATIONS, _same_version(DECLARATIONS))
        .join(REPLICAS, _same_version(REPLICAS))
        .where(
            ROLLOUTS.c.ended_at.is_(None),
            ROLLOUTS.c.phase.in_(("shadow", "watching")),
            DECLARATIONS.c.input_share > 0,
            REPLICAS.c.replica == replica,
            REPLICAS.c.replica == first,
            *ready,
        )
    )
    return [Shadowed(*row) for row in rows]


def waiting(connection: sa.Connection, one: Shadowed, most: int) -> Waiting:
    """Return at most that many inputs that a version has not answered, those longest waiting first."""
    position = connection.execute(sa.select(POSITIONS.c.position).where(POSITIONS.c.source == one.source)).scalar()
    floor = max(one.since, (position or 0) / 1000)
    newest_first = _unpaired(one, floor).order_by(INPUTS.c.time.desc()).limit(LONGEST + 1)
    keys = list(connection.execute(newest_first))
    left_out = len(keys) > LONGEST
    if left_out:
        floor = keys.pop().time
    else:
        newest = connection.execute(sa.select(sa.func.max(INPUTS.c.time)).where(*_of(INPUTS, one.model, one.stable)))
        oldest = keys[-1].time if keys else newest.scalar()
        floor = max(floor, (oldest or 0) - LATE_S)
    chosen = [key.request_id for key in reversed(keys[-most:])]
    rows = connection.execute(
        sa.select(INPUTS.c.request_id, INPUTS.c.time, INPUTS.c.content_type, INPUTS.c.body).where(
            *_of(INPUTS, one.model, one.stable), INPUTS.c.request_id.in_(chosen)
        )
    )
    # Asked to sort them by time, SQLite would go through all inputs of the version.
    return Waiting(sorted((Input(*row) for row in rows), key=lambda given: given.time), floor, left_out)


def settle(
    database: Database,
    connection: sa.Connection,
    one: Shadowed,
    floor: float,
    answered: Sequence[tuple[Input, ShadowAnswer]],
) -> None:
    """Write what a version answered beside what users got, and how far that is."""
    ids = [given.request_id for given, _ in answered]
    users: dict[str, list[sa.Row[Any]]] = {}
    for row in connection.execute(
        sa.select(PREDICTIONS)
        .where(*_of(PREDICTIONS, one.model, one.stable), PREDICTIONS.c.request_id.in_(ids))
        .order_by(PREDICTIONS.c.instance)
    ):
        users.setdefault(row.request_id, []).append(row)
    pairs = []
    for given, replayed in answered:
        mine = users.get(given.request_id, [])
        for user, said in zip(mine, _by_instance(given, replayed.predictions, mine), strict=True):
            label, confidence, value = read_prediction(said)
            pairs.append(
                {
                    "request_id": given.request_id,
                    "model": one.model,
                    "shadow": one.shadow,
                    "instance": user.instance,
                    "stable": one.stable,
                    "time": given.time,
                    "status": replayed.faults.get(user.instance, replayed.status),
                    "stable_label": user.label,
                    "shadow_label": label,
                    "stable_confidence": user.confidence,
                    "shadow_confidence": confidence,
                    "stable_value": user.value,
                    "shadow_value": value,
                    "stable_ms": user.serving_ms,
                    "shadow_ms": replayed.serving_ms,
                    "client": user.client,
                }
            )
    database.add_new(connection, SHADOW_PAIRS, pairs)
    database.put(connection, POSITIONS, [{"source": one.source, "position": int(floor * 1000)}])


def _by_instance(given: Input, predictions: Any, users: Sequence[sa.Row[Any]]) -> list[Any]:
    """Return one prediction for each that the user got, by its place; None where there is none."""
    found = predictions if _many(given, predictions, users) else [predictions]
    if not isinstance(found, list):
        found = []
    return [found[user.instance] if user.instance < len(found) else None for user in users]


def _many(given: Input, predictions: Any, users: Sequence[sa.Row[Any]]) -> bool:
    """Whether a request was of a list of instances."""
    if given.content_type == JSON:
        return "instances" in orjson.loads(given.body)
    # An array does not say so. A list of one is an answer like the user's, in a list.
    first = next((one for one in predictions if one is not None), None) if isinstance(predictions, list) else None
    return any(user.instance for user in users) or any(type(orjson.loads(user.answer)) is type(first) for user in users)


def _unpaired(one: Shadowed, floor: float) -> sa.Select[Any]:
    """Select the inputs after the floor whose user's answer is there, and the shadow's is not.

    Not by its first instance, which an answer in part may lack.
    """
    answered = sa.exists().where(
        PREDICTIONS.c.request_id == INPUTS.c.request_id, *_of(PREDICTIONS, one.model, one.stable)
    )
    paired = sa.exists().where(
        SHADOW_PAIRS.c.request_id == INPUTS.c.request_id,
        SHADOW_PAIRS.c.model == one.model,
        SHADOW_PAIRS.c.shadow == one.shadow,
    )
    return sa.select(INPUTS.c.request_id, INPUTS.c.time).where(
        *_of(INPUTS, one.model, one.stable), INPUTS.c.time > floor, answered, ~paired
    )


def _of(table: sa.Table, model: str, version: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return table.c.model == model, table.c.version == version


def _same_version(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.model == ROLLOUTS.c.model, table.c.version == ROLLOUTS.c.canary)
