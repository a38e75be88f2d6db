"""Steps of recurring runs as the database keeps them: a step that is done is not done again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.loop_tables import LOOP_STEPS
from marina.monitoring.loop_metrics import BAD_DATA, MOST_ATTEMPTS

FIRST_PAUSE_S = 600.0


@dataclass(frozen=True)
class Step:
    """How far a step is: ``running``, ``done``, ``failed``, or ``waiting`` for something else, which is no attempt."""

    state: str
    attempts: int
    exit: int | None
    started_at: float
    ended_at: float | None
    result: Mapping[str, Any]

    def may_begin(self, now: float, pause_s: float = FIRST_PAUSE_S) -> bool:
        """Whether it is to be attempted: it was cut off, or failed a while ago, and not too often."""
        due = self.due(pause_s)
        return due is not None and now >= due

    def due(self, pause_s: float) -> float | None:
        """Return when it may be attempted again, in seconds since 1970; None where it never is in this run."""
        if self.state in ("running", "waiting"):
            return 0.0
        if self.state == "done" or self.attempts >= MOST_ATTEMPTS or self.exit == BAD_DATA:
            return None
        return (self.ended_at or 0.0) + pause_s * 2.0 ** (self.attempts - 1)


def read(connection: sa.Connection, run: str, family: str, step: str) -> Step | None:
    """Return a step; None where it was never begun."""
    table = LOOP_STEPS.c
    same = (table.run == run, table.family == family, table.step == step)
    row = connection.execute(sa.select(LOOP_STEPS).where(*same)).one_or_none()
    return None if row is None else _step(row)


def newest(connection: sa.Connection, family: str, step: str) -> Step | None:
    """Return a family's step of that name that was done last, in any run."""
    table = LOOP_STEPS.c
    chosen = sa.select(LOOP_STEPS).where(table.family == family, table.step == step, table.state == "done")
    row = connection.execute(chosen.order_by(table.ended_at.desc()).limit(1)).one_or_none()
    return None if row is None else _step(row)


def failed(connection: sa.Connection, run: str, family: str, beginning: str) -> list[Step]:
    """Return the steps that failed in a family's run and whose names begin so."""
    table = LOOP_STEPS.c
    chosen = sa.select(LOOP_STEPS).where(table.run == run, table.family == family, table.state == "failed")
    chosen = chosen.where(table.step.startswith(beginning, autoescape=True))
    return [_step(row) for row in connection.execute(chosen)]


def waiting(connection: sa.Connection, family: str) -> dict[str, float]:
    """Return the runs in which a step of a family waits, and since when; the one that began first before the others."""
    table = LOOP_STEPS.c
    began = sa.func.min(table.started_at)
    chosen = sa.select(table.run, began).where(table.family == family, table.state == "waiting").group_by(table.run)
    return {run: since for run, since in connection.execute(chosen.order_by(began))}


def families(connection: sa.Connection, run: str) -> list[str]:
    """Return whose steps a run has, in the order of their names."""
    table = LOOP_STEPS.c
    chosen = sa.select(table.family).where(table.run == run).distinct()
    return list(connection.execute(chosen.order_by(table.family)).scalars())


def begin(connection: sa.Connection, database: Database, run: str, family: str, step: str, now: float) -> float:
    """Record that a step is attempted; return since when it is, which attempts after the first do not change."""
    before = read(connection, run, family, step)
    since = before.started_at if before else now
    row = {"run": run, "family": family, "step": step, "state": "running", "started_at": since}
    row |= {
        "attempts": before.attempts + (before.state != "waiting") if before else 1,
        "exit": None,
        "ended_at": None,
        "result": "{}",
        "note": "",
    }
    database.put(connection, LOOP_STEPS, [row])
    return since


def end(
    connection: sa.Connection, run: str, family: str, step: str, exit_status: int, result: Mapping[str, Any],
    note: str, state: str, now: float,
) -> None:  # fmt: skip
    """Record how a step ended."""
    table = LOOP_STEPS.c
    changed = sa.update(LOOP_STEPS).where(table.run == run, table.family == family, table.step == step)
    values = {"state": state, "exit": exit_status, "result": json.dumps(result), "note": note}
    connection.execute(changed.values(ended_at=now, **values))


def _step(row: sa.Row[Any]) -> Step:
    return Step(row.state, row.attempts, row.exit, row.started_at, row.ended_at, json.loads(row.result))
