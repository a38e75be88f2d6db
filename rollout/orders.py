"""What a person may order: each order is one transaction, and nothing when it cannot be obeyed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from events.database import Database
from events.tables import APPROVALS
from rollout import ledger, machine, rollouts
from rollout.declaration import Declared
from rollout.machine import Step
from rollout.policy import Policy
from rollout.policy import Step as Share
from rollout.rollouts import Rollout, RolloutError
from rollout.transitions import carry_out

Find = Callable[[str, str, Path, str], Declared]
"""Finds the archive of a model's version, last seen at a path, that has a SHA-256."""


def pause(database: Database, model: str, who: str, now: float) -> Rollout:
    """Let a rollout advance no further; see `machine.pause`."""
    return _order(database, model, who, now, lambda one: machine.pause(one, who))


def resume(database: Database, model: str, who: str, now: float) -> Rollout:
    """Let a rollout advance again; see `machine.resume`."""
    return _order(database, model, who, now, lambda one: machine.resume(one, who))


def abort(database: Database, model: str, who: str, reason: str, now: float) -> Rollout:
    """Give stable all traffic back, or stop a shadow; see `machine.abort`."""
    why = f"by {who}" + (f": {reason}" if reason else "")
    return _order(database, model, who, now, lambda one: machine.abort(one, now, why))


def approve(database: Database, model: str, who: str, now: float) -> int:
    """Agree that a canary may take all traffic; return how many more persons have to.

    Raises
    ------
    RolloutError
        When nobody has to agree, or not this person.
    """
    with database.writing() as connection:
        ledger.lock(connection)
        one = _open(connection, model)
        if not one.policy.approvals:
            raise RolloutError(f"{one}: its policy asks for no approval.")
        if one.policy.approvals > 1 and who == one.started_by:
            raise RolloutError(f"{one}: {who} started it, so two others have to agree.")
        if who in agreed(connection, one):
            raise RolloutError(f"{one}: {who} has agreed already.")
        connection.execute(sa.insert(APPROVALS), {"rollout": one.id, "who": who, "time": now})
        missing = machine.missing_approvals(one, agreed(connection, one))
        ledger.append(connection, who, "approve", model, {"rollout": one.id, "why": f"{missing} more to agree"}, now)
        return missing


def agreed(connection: sa.Connection, rollout: Rollout) -> set[str]:
    """Return who agreed to a rollout."""
    chosen = sa.select(APPROVALS.c.who).where(APPROVALS.c.rollout == rollout.id)
    return set(connection.execute(chosen).scalars())


def roll_back(database: Database, model: str, who: str, reason: str, now: float, find: Find, policy: Policy) -> Rollout:
    """Return to the version before: abort what is open, else switch to the champion before the present one.

    A switch takes as long as the old version needs to load, since nothing of it is warm any more.

    Raises
    ------
    RolloutError
        When the ledger knows of no version before, or what is open is on its way back already.
    """
    with database.reading() as connection:
        one = rollouts.rollout_of(connection, model)
        before = ledger.previous_champion(connection, model)
    if one is not None and one.phase != "shadow":
        return abort(database, model, who, reason, now)
    if before is None:
        raise RolloutError(f"{model}: the ledger knows of no version before the present one.")
    version, sha256, archive = before
    candidate = find(model, version, Path(archive), sha256)
    why = "rolled back by hand" + (f": {reason}" if reason else "")
    with database.writing() as connection:
        ledger.lock(connection)
        shadow = rollouts.rollout_of(connection, model)
        if shadow is not None and shadow.phase == "shadow":
            carry_out(connection, machine.abort(shadow, now, why), who, now)
        return rollouts.start(connection, candidate, at_once(policy), who, now, why=why)


def at_once(policy: Policy, probation_s: float = 0.0) -> Policy:
    """Return the policy of a direct switch: all traffic as soon as the version is ready."""
    return _changed(policy, steps=(Share(share=1, at_least_s=probation_s),), test=None, approvals=0)


def beginning_with(policy: Policy, share: float) -> Policy:
    """Return a policy whose first step has this share (above 0, up to 1); smaller steps are left out."""
    first = Share(share=share, at_least_s=policy.steps[0].at_least_s)
    return _changed(policy, steps=(first, *(step for step in policy.steps[1:] if step.share > share)))


def _changed(policy: Policy, **changes: Any) -> Policy:
    return Policy.model_validate({**dict(policy), **changes})


def _order(database: Database, model: str, who: str, now: float, order: Callable[[Rollout], Step]) -> Rollout:
    with database.writing() as connection:
        ledger.lock(connection)
        step = order(_open(connection, model))
        carry_out(connection, step, who, now)
        return step.rollout


def _open(connection: sa.Connection, model: str) -> Rollout:
    one = rollouts.rollout_of(connection, model)
    if one is None:
        raise RolloutError(f"{model}: no rollout is open. Begin one with scripts/deploy_canary.py")
    return one
