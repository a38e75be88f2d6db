"""Carry out a step of the machine: rollout, declarations, verdict and ledger change together or not at all."""

import sqlalchemy as sa

from events.tables import DECLARATIONS
from rollout import ledger, rollouts
from rollout.machine import Step


def carry_out(connection: sa.Connection, step: Step, who: str, now: float, verdict: int | None = None) -> None:
    """Write a step.

    Parameters
    ----------
    connection
        A writing transaction that began with `ledger.lock`.
    step
        What to do.
    who
        Who did it, for the ledger.
    now
        Seconds since 1970.
    verdict
        The number of the verdict it follows from, if it does.
    """
    rollout = step.rollout
    rollouts.save(connection, rollout)
    for version, weight in step.weights.items():
        connection.execute(sa.update(DECLARATIONS).where(*_one(rollout.model, version)).values(weight=weight))
    for version in step.withdrawn:
        connection.execute(sa.delete(DECLARATIONS).where(*_one(rollout.model, version)))
    if step.action:
        details = {"rollout": rollout.id, "phase": rollout.phase, "step": rollout.step, "why": step.why}
        if verdict is not None:
            details["verdict"] = verdict
        ledger.append(connection, who, step.action, rollout.model, details, now)


def _one(model: str, version: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return DECLARATIONS.c.model == model, DECLARATIONS.c.version == version
