"""Carry out a transition of the state machine: rollout, declarations, verdict and ledger change together or not at all.

What justifies the step is hashed into the ledger's row: the verdict by its hash, and who agreed.
"""

from typing import Any

import sqlalchemy as sa

from marina.releases import declarations, ledger
from marina.rollout import rollouts, verdicts
from marina.rollout.state_machine import Transition


def carry_out(
    connection: sa.Connection, transition: Transition, who: str, now: float, verdict: int | None = None
) -> None:
    """Write a transition.

    Parameters
    ----------
    connection
        A writing transaction that began with `ledger.lock`.
    transition
        What to do.
    who
        Who did it, for the ledger.
    now
        Seconds since 1970.
    verdict
        The number of the verdict it follows from, if it does.
    """
    rollout = transition.rollout
    rollouts.save(connection, rollout)
    for version, weight in transition.weights.items():
        declarations.change(connection, rollout.model, version, weight=weight)
    for version in transition.withdrawn:
        declarations.withdraw(connection, rollout.model, version)
    if transition.action:
        details: dict[str, Any] = {
            "rollout": rollout.id,
            "phase": rollout.phase,
            "step": rollout.step,
            "why": transition.why,
        }
        if verdict is not None:
            details |= {"verdict": verdict, "verdict_sha256": verdicts.digest(connection, verdict)}
        if agreed := rollouts.agreed(connection, rollout.id):
            details["approved_by"] = sorted(agreed)
        ledger.append(connection, who, transition.action, rollout.model, details, now)
