"""Rollouts as the database keeps them: one row each, at most one open per model."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.tables import APPROVALS, DECLARATIONS, ROLLOUTS
from marina.releases import declarations, ledger
from marina.releases.declarations import Declared, declare
from marina.rollout.policy.schema import Policy, PolicyError, parse_policy

RETREATS = {"rolling back": "rolled back", "aborting": "aborted", "failing": "failed"}
"""Phases in which the traffic is stable's again and the canary is being unloaded, and how each ends."""

ENDINGS = ("done", *RETREATS.values())

WaitingFor = Literal["", "approval", "routing", "ready", "latency", "labels"]
"""What a rollout needs before it continues: nothing in particular; people who agree; gateways that stop sending traffic
to a version; a version that is ready; quiet times in which stable's p95 can be taken; labels that say something."""


class RolloutError(MarinaError):
    """What was asked of a rollout cannot be done; the message says why, and what can."""


class RolloutOpenError(RolloutError):
    """Another rollout of the model is open; once it has ended, the same may be asked again."""


@dataclass(frozen=True)
class Rollout:
    """Where a rollout stands.

    Attributes
    ----------
    id
        Its number.
    model, stable, canary
        Who takes over from whom. In a shadow, `canary` is the shadow version.
    phase
        ``deploying``, ``watching``, ``probation``; or ``shadow``; or one of `RETREATS`; in the end one of `ENDINGS`.
    step
        Index into the policy's steps.
    paused
        Whether a person asked it not to advance.
    policy
        All of it, as it was at the start.
    stable_p95_ms
        Stable's p95, taken once, when enough of its requests in quiet times are known; None until then.
    started_by, started_at
        Who began it, and when (seconds since 1970, as all times here).
    watched_since
        Start of the first whole window of evidence with canary traffic; None before.
    phase_since
        When the phase or step began.
    ended_at
        None while it is open.
    note
        What happened last, as text. For people: nothing is decided by it.
    stuck_since, stuck_on
        When it was reported that it makes no progress, and for want of what, as text; None and empty otherwise.
    waiting_for
        What it waits for.
    """

    id: int
    model: str
    stable: str
    canary: str
    phase: str
    step: int
    paused: bool
    policy: Policy
    stable_p95_ms: float | None
    started_by: str
    started_at: float
    watched_since: float | None
    phase_since: float
    ended_at: float | None
    note: str
    stuck_since: float | None = None
    stuck_on: str = ""
    waiting_for: WaitingFor = ""

    def __str__(self) -> str:
        return f"{self.model} {self.stable} -> {self.canary}"


def describe(rollout: Rollout) -> str:
    """Return what happened to a rollout last and what it is stuck on, as text; empty when there is nothing to say."""
    stuck = f"(stuck: {rollout.stuck_on})" if rollout.stuck_since is not None else ""
    return f"{rollout.note} {stuck}".strip()


def open_rollouts(connection: sa.Connection, report: Callable[[str], None] | None = None) -> list[Rollout]:
    """Return every rollout that has not ended, oldest first.

    Parameters
    ----------
    report
        How to say that one cannot be read; it is left out then. None: that is raised.

    Raises
    ------
    marina.rollout.policy.schema.PolicyError
        When one cannot be read, and there is no one to tell.
    """
    found = []
    for row in _rows(connection, ROLLOUTS.c.ended_at.is_(None)):
        try:
            found.append(_rollout(row))
        except PolicyError as error:
            if report is None:
                raise
            report(f"rollout {row.id} of {row.model} is halted: {error}")
    return found


def all_rollouts(connection: sa.Connection) -> list[Rollout]:
    """Return every rollout there was, oldest first."""
    return _read(connection, sa.true())


def rollout_of(connection: sa.Connection, model: str) -> Rollout | None:
    """Return the model's open rollout, if there is one."""
    return next(iter(_read(connection, ROLLOUTS.c.ended_at.is_(None) & (ROLLOUTS.c.model == model))), None)


def last_rollout_of(connection: sa.Connection, model: str) -> Rollout | None:
    """Return the model's latest rollout, open or ended."""
    return next(reversed(_read(connection, ROLLOUTS.c.model == model)), None)


def rollout(connection: sa.Connection, number: int) -> Rollout | None:
    """Return a rollout by its number."""
    return next(iter(_read(connection, ROLLOUTS.c.id == number)), None)


def agreed(connection: sa.Connection, number: int) -> set[str]:
    """Return who agreed that a rollout may take all traffic."""
    return set(connection.execute(sa.select(APPROVALS.c.who).where(APPROVALS.c.rollout == number)).scalars())


def stable_of(connection: sa.Connection, model: str) -> str:
    """Return the one version that has the model's traffic.

    Raises
    ------
    RolloutError
        When there is none, or more than one.
    """
    rows = connection.execute(sa.select(DECLARATIONS.c.version, DECLARATIONS.c.weight).where(_of(model))).all()
    live = sorted(row.version for row in rows if row.weight > 0)
    if len(live) == 1:
        return str(live[0])
    if live:
        raise RolloutError(
            f"{model}: versions {', '.join(live)} share its traffic already. Serve one of them alone first: "
            "scripts/serve.py --archive with one archive of it."
        )
    served = connection.execute(sa.select(DECLARATIONS.c.model).distinct()).scalars()
    raise RolloutError(
        f"{model} is not served, so there is nothing to take over from. Served: "
        f"{', '.join(sorted(served)) or 'nothing'}. Start with its first version: scripts/serve.py --archive ..."
    )


def start(
    connection: sa.Connection,
    candidate: Declared,
    policy: Policy,
    who: str,
    now: float,
    *,
    shadow: bool = False,
    input_share: float = 0.0,
    action: str = "start",
    why: str = "",
) -> Rollout:
    """Begin a rollout, or a shadow: declare the candidate without traffic. The controller does the rest.

    A canary may follow a shadow of the same version; the shadow ends then, and its inputs are still kept.

    Parameters
    ----------
    connection
        A writing transaction.
    candidate
        The version and its archive, linted and hashed by the caller.
    policy
        Steps and guarantees; stored with the rollout.
    who
        Who asks for it.
    now
        Seconds since 1970.
    shadow
        Whether the candidate stays silent: it answers copies of requests, and users never see it.
    input_share
        Share of stable's inputs to be kept, for the shadow to answer.
    action
        The ledger's word for a beginning that is no shadow's: ``start``, or ``undo``.
    why
        For the ledger.

    Raises
    ------
    RolloutOpenError
        When another rollout is open.
    RolloutError
        When the model is not served, or the version is live already or declared with another
        archive.
    marina.rollout.policy.schema.PolicyError
        When the policy's entries do not go together.
    """
    kept = policy.model_dump_json()
    parse_policy(kept)
    ledger.lock(connection)
    model, version = candidate.model, candidate.version
    open_one = rollout_of(connection, model)
    follows_shadow = open_one is not None and open_one.phase == "shadow" and open_one.canary == version and not shadow
    if open_one is not None and not follows_shadow:
        raise RolloutOpenError(
            f"{model}: a rollout is open ({open_one.stable} -> {open_one.canary}, {open_one.phase}). Wait for its end, "
            "or end it: python -m marina.rollout "
            f"{'shadow stop' if open_one.phase == 'shadow' else 'abort'} --model {model}"
        )
    stable = stable_of(connection, model)
    if version == stable:
        raise RolloutError(f"{model} {version} is served already.")
    declared = connection.execute(sa.select(DECLARATIONS).where(_of(model), DECLARATIONS.c.version == version)).first()
    if declared is not None and declared.sha256 != candidate.sha256:
        raise RolloutError(
            f"{model} {version} is declared with another archive (SHA-256 {declared.sha256[:16]}…, this one has "
            f"{candidate.sha256[:16]}…): a version has one archive. Give the new one another version."
        )
    if follows_shadow and open_one is not None:
        connection.execute(
            sa.update(ROLLOUTS)
            .where(ROLLOUTS.c.id == open_one.id)
            .values(phase="done", phase_since=now, ended_at=now, note="followed by a canary of the same version")
            .values(stuck_since=None, stuck_on="", waiting_for="")
        )
    if declared is None:
        kept_workers = sa.select(DECLARATIONS.c.workers).where(_of(model), DECLARATIONS.c.version == stable)
        workers = candidate.workers or connection.execute(kept_workers).scalar_one()
        new = dataclasses.replace(candidate, weight=0.0, input_share=input_share, workers=workers)
        declare(connection, new, now)
    elif shadow:
        declarations.change(connection, model, version, input_share=input_share)
    row: dict[str, Any] = {
        "model": model,
        "stable": stable,
        "canary": version,
        "phase": "shadow" if shadow else "deploying",
        "step": 0,
        "paused": False,
        "policy": kept,
        "stable_p95_ms": None,
        "started_by": who,
        "started_at": now,
        "watched_since": None,
        "phase_since": now,
        "ended_at": None,
        "note": why,
        "stuck_since": None,
        "stuck_on": "",
        "waiting_for": "",
    }
    number = connection.execute(sa.insert(ROLLOUTS).values(row)).inserted_primary_key[0]  # type: ignore[index]
    details = {
        "rollout": number,
        "stable": stable,
        "canary": version,
        "why": why,
        "policy_sha256": hashlib.sha256(kept.encode()).hexdigest(),
    }
    ledger.append(connection, who, "shadow" if shadow else action, model, details, now)
    return Rollout(**{**row, "id": number, "policy": policy})


def ended(one: Rollout, ending: str, now: float, why: str) -> Rollout:
    """Return a rollout that has ended, in one of `ENDINGS`."""
    return dataclasses.replace(
        one, phase=ending, phase_since=now, ended_at=now, paused=False,
        note=why, stuck_since=None, stuck_on="", waiting_for="",
    )  # fmt: skip


def save(connection: sa.Connection, changed: Rollout) -> None:
    """Write a rollout back, but for its policy, which stays as it was. Once it has ended, no inputs are kept for it."""
    values = {one.name: getattr(changed, one.name) for one in fields(changed) if one.name != "policy"}
    connection.execute(sa.update(ROLLOUTS).where(ROLLOUTS.c.id == values.pop("id")).values(values))
    if changed.ended_at is not None:
        declarations.change(connection, changed.model, input_share=0.0)


def abort_open(
    connection: sa.Connection,
    models: Collection[str],
    who: str,
    now: float,
    why: str,
    report: Callable[[str], None] | None = None,
) -> None:
    """End what is open of these models as aborted, and leave their weights alone.

    For a supervisor that replaces what is declared of models. The ledger's rows name what is declared when this is
    called: call it after the declarations were changed and `ledger.declared` has said so.

    Parameters
    ----------
    connection
        A writing transaction.
    models
        Those whose declarations are replaced.
    who
        Who declares them.
    now
        Seconds since 1970.
    why
        For the ledger, and the rollouts' notes.
    report
        How to say that a rollout cannot be read; see `open_rollouts`.
    """
    ledger.lock(connection)
    for one in open_rollouts(connection, report):
        if one.model in models:
            save(connection, ended(one, "aborted", now, why))
            details = {"rollout": one.id, "phase": "aborted", "step": one.step, "why": why}
            ledger.append(connection, who, "aborted", one.model, details, now)


def _of(model: str) -> sa.ColumnElement[bool]:
    return DECLARATIONS.c.model == model


def _read(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Rollout]:
    return [_rollout(row) for row in _rows(connection, which)]


def _rows(connection: sa.Connection, which: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
    return connection.execute(sa.select(ROLLOUTS).where(which).order_by(ROLLOUTS.c.id)).all()


def _rollout(row: sa.Row[Any]) -> Rollout:
    return Rollout(**{**row._mapping, "policy": parse_policy(row.policy)})
