"""What the loop's runs decided within a week, and what of them still waits or failed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from marina.database.loop_tables import LOOP_STEPS

WAITS = "waits"
MOST_WORDS = 200
"""Characters of a reason that are kept."""


@dataclass(frozen=True)
class Decided:
    """A decision about a version, or the step of a family on which one hangs.

    Attributes
    ----------
    what
        Model and version; the family and the step where none was trained yet.
    run
        The run's key.
    outcome
        promote, keep or inconclusive; `WAITS` or ``failed`` where there is no decision.
    why
        The decision's reason, or the last that the command said.
    """

    what: str
    run: str
    outcome: str
    why: str


def read_decisions(connection: sa.Connection, low: float, high: float) -> list[Decided]:
    """Return what was decided or failed from `low` to `high`, and before these what began until then and waits."""
    step = LOOP_STEPS.c
    stuck = sa.and_(step.state.in_(("waiting", "failed")), step.step.in_(("load", "train")))
    waits = sa.and_(step.state == "waiting", step.started_at < high)
    chosen = sa.select(LOOP_STEPS).where(
        sa.or_(stuck, step.step.startswith("promote ")),
        sa.or_(waits, sa.and_(step.ended_at >= low, step.ended_at < high)),
    )
    rows = connection.execute(chosen.order_by(step.state != "waiting", step.started_at, step.family, step.step)).all()
    return [_decided(connection, row) for row in rows]


def _decided(connection: sa.Connection, row: sa.Row[Any]) -> Decided:
    step, result = LOOP_STEPS.c, json.loads(row.result) if row.state == "done" else {}
    train = sa.select(step.result).where(step.run == row.run, step.family == row.family, step.step == "train")
    trained = json.loads(connection.execute(train).scalar() or "{}").get("trained", ())
    named = {f"promote {one['model']}"[:64]: f"{one['model']} {one['version']}" for one in trained}
    state = WAITS if row.state == "waiting" else row.state
    said = [line for line in row.note.splitlines() if line.strip()] or [""]
    why = str(result.get("why") or said[-1])[:MOST_WORDS]
    return Decided(named.get(row.step, f"{row.family}: {row.step}"), row.run, str(result.get("outcome") or state), why)
