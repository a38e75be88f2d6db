"""The operator's commands: each is one transaction, and changes nothing when it cannot be done.

With a `number`, they are about that rollout alone, and none that was opened since.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import APPROVALS
from marina.releases import ledger
from marina.releases.declarations import Declared
from marina.rollout import rollouts, state_machine
from marina.rollout.apply_step import carry_out
from marina.rollout.policy.schema import Policy, changed
from marina.rollout.rollouts import Rollout, RolloutError
from marina.rollout.state_machine import Transition

BEGINNINGS = ("start", "declare")
"""The ledger's words for what gave a model the version that it has, and is no way back."""

UNDO = "undo"
"""The ledger's word for the start of a manual rollback after a rollout's end."""

Find = Callable[[str, str, Path, str], Declared]
"""Finds the archive of a model's version, last seen at a path, that has a SHA-256."""


def pause(database: Database, model: str, who: str, now: float, reason: str = "", number: int | None = None) -> Rollout:
    """Let a rollout advance no further; see `state_machine.pause`."""
    return _order(database, model, who, now, lambda one: _because(state_machine.pause(one, who), reason), number)


def resume(
    database: Database, model: str, who: str, now: float, reason: str = "", number: int | None = None
) -> Rollout:
    """Let a rollout advance again; see `state_machine.resume`."""
    return _order(database, model, who, now, lambda one: _because(state_machine.resume(one, who), reason), number)


def abort(database: Database, model: str, who: str, reason: str, now: float, number: int | None = None) -> Rollout:
    """Give stable all traffic back, or stop a shadow; see `state_machine.abort`."""
    why = f"by {who}" + (f": {reason}" if reason else "")
    return _order(database, model, who, now, lambda one: state_machine.abort(one, now, why), number)


def approve(database: Database, model: str, who: str, now: float, reason: str = "", number: int | None = None) -> int:
    """Approve that a canary takes all traffic; return how many more approvals are needed.

    Raises
    ------
    RolloutError
        When no approval is needed, or not this person's.
    """
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        one = _open(connection, model, number)
        if not one.policy.approvals:
            raise RolloutError(f"{one}: its policy asks for no approval.")
        if one.policy.approvals > 1 and who == one.started_by:
            raise RolloutError(f"{one}: {who} started it, so two others have to approve.")
        if who in rollouts.agreed(connection, one.id):
            raise RolloutError(f"{one}: {who} has approved already.")
        connection.execute(sa.insert(APPROVALS), {"rollout": one.id, "who": who, "time": now})
        missing = state_machine.missing_approvals(one, rollouts.agreed(connection, one.id))
        why = f"{missing} more approvals needed" + (f": {reason}" if reason else "")
        ledger.append(connection, who, "approve", model, {"rollout": one.id, "why": why}, now)
        return missing


def roll_back(
    database: Database, model: str, who: str, reason: str, now: float, find: Find, policy: Policy,
    to: str | None = None, number: int | None = None,
) -> Rollout:  # fmt: skip
    """Return to the version before: abort what is open, else switch to the champion before the current one.

    A switch takes as long as the old version needs to load, since nothing of it is warm any more.

    Parameters
    ----------
    database
        Where it is ordered.
    model
        Whose version is not wanted.
    who, reason
        For the ledger.
    now
        Seconds since 1970.
    find
        Finds the old version's archive.
    policy
        Its guarantees are kept; a switch has one step, and no one has to agree to it.
    to
        The version to return to. It has to be named where the last change was a way back itself: what had the traffic
        before that is what was to be got rid of.
    number
        The rollout that was looked at. It may have ended.

    Raises
    ------
    RolloutError
        When the ledger knows of no such version, it has to be named, what is open is on its way back already, or was
        opened after rollout `number`.
    """
    with database.reading() as connection:
        one = _unless_another(rollouts.rollout_of(connection, model), model, number)
        if to is None:
            _refuse_to_guess(connection, model)
        before = _champion(connection, model, to)
    if one is not None and one.phase != "shadow" and to in (None, one.stable):
        return abort(database, model, who, reason, now, one.id)
    if before is None:
        raise RolloutError(f"{model}: the ledger has no version {to or 'before the current one'} that served.")
    candidate = find(model, before.version, Path(before.archive), before.sha256)
    why = "rolled back manually" + (f": {reason}" if reason else "")
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        shadow = _unless_another(rollouts.rollout_of(connection, model), model, number)
        if shadow is not None and shadow.phase == "shadow":
            carry_out(connection, state_machine.abort(shadow, now, why), who, now)
        switch = changed(policy, steps=({"share": 1, "at_least_s": 0},), test=None, approvals=0)
        return rollouts.start(connection, candidate, switch, who, now, action=UNDO, why=why)


def at_once(policy: Policy) -> Policy:
    """Return the policy of a direct switch: the last step alone, with its probation, once who has to agree did."""
    return changed(policy, steps=policy.steps[-1:], test=None)


def start_with_share(policy: Policy, share: float) -> Policy:
    """Return a policy whose first step has this share; smaller steps are left out.

    Raises
    ------
    marina.rollout.policy.schema.PolicyError
        If it is too small or too large, or too large for a test.
    """
    first = {"share": share, "at_least_s": policy.steps[0].at_least_s}
    return changed(policy, steps=(first, *(step for step in policy.steps[1:] if step.share > share)))


def _refuse_to_guess(connection: sa.Connection, model: str) -> None:
    for entry in ledger.entries(connection, model, newest_first=True):
        if entry.action in (*rollouts.RETREATS.values(), UNDO):
            words = "was a manual rollback" if entry.action == UNDO else f"ended as {entry.action}"
            raise RolloutError(
                f"{model}: the last rollout {words}, so what served before {entry.champion} may be the version "
                "that was to be replaced. To return to a version anyway, name it: --to VERSION"
            )
        if entry.action in BEGINNINGS:
            return


def _champion(connection: sa.Connection, model: str, version: str | None) -> ledger.Champion | None:
    if version is None:
        return ledger.previous_champion(connection, model)
    return next((one for one in ledger.champions(connection, model) if one.version == version), None)


def _because(transition: Transition, reason: str) -> Transition:
    return dataclasses.replace(transition, why=f"{transition.why}: {reason}") if reason else transition


def _order(
    database: Database, model: str, who: str, now: float, order: Callable[[Rollout], Transition], number: int | None
) -> Rollout:
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        transition = order(_open(connection, model, number))
        carry_out(connection, transition, who, now)
        return transition.rollout


def _open(connection: sa.Connection, model: str, number: int | None) -> Rollout:
    one = _unless_another(rollouts.rollout_of(connection, model), model, number)
    if one is None:
        ended = f"rollout {number} has ended. Look again, then decide."
        none = "no rollout is open. Start one with scripts/deploy_canary.py"
        raise RolloutError(f"{model}: {none if number is None else ended}")
    return one


def _unless_another(one: Rollout | None, model: str, number: int | None) -> Rollout | None:
    if one is not None and number not in (None, one.id):
        raise RolloutError(f"{model}: rollout {number} has ended. Look again, then decide.")
    return one
