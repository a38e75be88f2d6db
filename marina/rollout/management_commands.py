"""What TorchServe's management API changes, done by what is declared: so it lasts, and is in the ledger.

TorchServe itself is brought in line by the supervisor, as after every other change (`marina.serving.reconciler`). Each
command is one transaction, and changes nothing when it cannot be done.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.database.tables import DECLARATIONS
from marina.releases import declarations, ledger
from marina.releases.declarations import Declaration, Declared, read_archive
from marina.rollout import archive_lookup, operator_commands, rollouts
from marina.rollout.policy.schema import read_policy
from marina.rollout.rollouts import Rollout
from marina.settings import Settings

MOST_WORKERS = 64
"""Most workers of one version on one server."""


class ManagementError(MarinaError):
    """A change that is refused.

    Attributes
    ----------
    status, code
        HTTP status, and the word for machines.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def register(database: Database, settings: Settings, name: str, workers: int, who: str, now: float) -> Declared:
    """Declare a version by the name of its archive in the store, with so many workers (0: as many as it says itself).

    The first version of a model gets its traffic; a later one none, until `set_default` or a rollout gives it some.

    Raises
    ------
    ManagementError
        When the store has no such archive, it may not run here, that version is declared already, or the number of
        workers is not possible.
    """
    if workers > MOST_WORKERS:
        raise ManagementError(400, "bad_workers", f"initial_workers={workers}: expected at most {MOST_WORKERS}")
    path = settings.archive_store / name
    if not os.path.isfile(path):
        raise ManagementError(
            404, "unknown_archive",
            f"There is no {name} in {settings.archive_store}: copy it there. Other tools' archives are "
            "refused; build it with scripts/train.py.",
        )  # fmt: skip
    found = read_archive(path, trust=archive_lookup.trust(settings))
    Declaration(settings.state_dir / "declared", archive_lookup.trust(settings)).keep(found)
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        versions = _declared(connection, found.model)
        if any(row.version == found.version for row in versions):
            raise ManagementError(409, "registered", f"{found} is registered already: a version has one archive.")
        one = dataclasses.replace(found, weight=0.0 if versions else 1.0, workers=workers)
        declarations.declare(connection, one, now)
        action, why = ("register", "without traffic") if versions else ("declare", "first version of its model")
        ledger.append(connection, who, action, one.model, {"version": one.version, "why": why}, now)
    return one


def scale(database: Database, model: str, version: str | None, workers: int, who: str, now: float) -> str:
    """Give a version, or the one that has the traffic, so many workers; return that version.

    Raises
    ------
    ManagementError
        When it is not declared, or the number is not possible.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise ManagementError(
            400, "bad_workers",
            f"min_worker={workers}: expected 1 to {MOST_WORKERS}. To stop a version: DELETE /models/{model}/VERSION",
        )  # fmt: skip
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        chosen = _choose(connection, model, version)
        if chosen.workers != workers:
            declarations.change(connection, model, chosen.version, workers=workers)
            details = {"version": chosen.version, "workers": workers}
            ledger.append(connection, who, "scale", model, details, now)
    return str(chosen.version)


def set_default(
    database: Database, settings: Settings, model: str, version: str, who: str, now: float
) -> Rollout | None:
    """Begin to give a version all of its model's traffic, in one step; None where it has it already.

    Raises
    ------
    ManagementError
        When it is not declared.
    marina.rollout.rollouts.RolloutError
        When a rollout is open, or its archive cannot be found.
    """
    with database.reading() as connection:
        chosen = _choose(connection, model, version)
        if chosen.weight > 0 and rollouts.stable_of(connection, model) == version:
            return None
    archive = Path(chosen.archive)
    candidate = archive_lookup.find(
        settings, model, version, archive if os.path.isfile(archive) else None, chosen.sha256
    )
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        switch = operator_commands.at_once(read_policy())
        return rollouts.start(connection, candidate, switch, who, now, why="set-default of the management API")


def unregister(database: Database, model: str, version: str | None, who: str, now: float) -> str:
    """Declare no longer that a version runs; return it. Requests in flight are answered.

    Raises
    ------
    ManagementError
        When it is not declared, has the traffic while other versions could have it, is part of an open rollout, or is
        all that is served.
    """
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        chosen = _choose(connection, model, version)
        found = str(chosen.version)
        rollout = rollouts.rollout_of(connection, model)
        if rollout is not None and found in (rollout.stable, rollout.canary):
            ending = "shadow stop" if rollout.phase == "shadow" else "abort"
            raise ManagementError(
                409, "in_rollout",
                f"{model} {found} is part of a rollout ({rollout.stable} -> {rollout.canary}, {rollout.phase}). End it "
                f"first: python -m marina.rollout {ending} --model {model}",
            )  # fmt: skip
        others = [row.version for row in _declared(connection, model) if row.version != found]
        if chosen.weight > 0 and others:
            raise ManagementError(
                409, "has_traffic",
                f"{model} {found} has the traffic. Give it to another version first: "
                f"PUT /models/{model}/{others[0]}/set-default, or scripts/deploy_canary.py",
            )  # fmt: skip
        if connection.execute(sa.select(sa.func.count()).select_from(DECLARATIONS)).scalar_one() == 1:
            raise ManagementError(
                409, "last_version", f"{model} {found} is all that is served here. To serve nothing, stop the server."
            )
        declarations.withdraw(connection, model, found)
        ledger.append(connection, who, "unregister", model, {"version": found}, now)
    return found


def _declared(connection: sa.Connection, model: str) -> Sequence[sa.Row[Any]]:
    chosen = sa.select(DECLARATIONS).where(DECLARATIONS.c.model == model)
    return connection.execute(chosen.order_by(DECLARATIONS.c.version)).all()


def _choose(connection: sa.Connection, model: str, version: str | None) -> sa.Row[Any]:
    """Return the row of a version, or of the one with all of the traffic."""
    rows = _declared(connection, model)
    if not rows:
        known = connection.execute(sa.select(DECLARATIONS.c.model).distinct().order_by(DECLARATIONS.c.model)).scalars()
        raise ManagementError(404, "unknown_model", f"{model} is not served. Served: {', '.join(known)}.")
    if version is None:
        version = rollouts.stable_of(connection, model)
    for row in rows:
        if row.version == version:
            return row
    raise ManagementError(
        404, "unknown_version",
        f"{model} {version} is not registered; it has {', '.join(row.version for row in rows)}. "
        f"Register it: POST /models?url={model}-{version}.mar",
    )  # fmt: skip
