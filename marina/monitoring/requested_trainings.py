"""Trainings that people asked for, and what came of them: an alert answered so, a request without one, edited rules.

The loop takes each as a run of its own, `Request.run`, so what came of it lies in the table of its steps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from marina.database.loop_tables import LOOP_STEPS, TRAININGS
from marina.database.tables import ALERT_ACTIONS, ALERTS, LEASES, ROLLOUTS
from marina.monitoring.alerts import RULES
from marina.monitoring.loop_metrics import BAD_DATA, LAST_STEP, MOST_ATTEMPTS

ASKED = "asked"
"""How the keys of their runs begin."""

DAYS_S = 30 * 86_400.0
"""What was asked for longer ago and never begun is not begun any more."""

SILENT_S = 60.0
"""A loop that has not renewed its lease for so long does not run."""

LOOPS = ("loop", "orchestrator")
"""Leases of those who take what was asked for."""

RULES_OF = "{family} rules"
"""In place of the family's name, for trainings that release rules."""

State = Literal["waiting", "training", "deciding", "failed", "done"]


@dataclass(frozen=True)
class Request:
    """A training that a person asked for.

    Attributes
    ----------
    alert
        Its number: of the alert that was answered so, or of the one that a request without one is kept as.
    rules
        Which version of the rules is to be released by it; None: the usual training.
    """

    alert: int
    model: str
    time: float
    who: str
    rules: int | None

    @property
    def run(self) -> str:
        """The key of its run."""
        return f"{ASKED} {self.alert}"


@dataclass(frozen=True)
class Version:
    """A version that a training gave, what was decided about it ("" as long as nothing was), and its rollout."""

    model: str
    version: str
    outcome: str
    why: str
    rollout: int | None


@dataclass(frozen=True)
class Progress:
    """What came of a request.

    Attributes
    ----------
    since
        When that began, in seconds since 1970.
    attended
        Whether a loop runs that takes it.
    reason
        Why it failed, or what it waits for.
    again
        Whether a failed one is tried again.
    """

    request: Request
    state: State
    since: float
    attended: bool
    versions: Sequence[Version] = ()
    reason: str = ""
    again: bool = False


def pending(connection: sa.Connection, now: float) -> list[tuple[Request, bool]]:
    """Return what was asked for and is not finished, the oldest first, and whether its run was begun."""
    done, step = ALERT_ACTIONS.c, LOOP_STEPS.c
    own = sa.exists().where(step.run == sa.literal(f"{ASKED} ") + sa.cast(done.alert, sa.String))
    whole = own.where(step.step == LAST_STEP, step.state == "done")
    chosen = _chosen().where(done.action == "retrain", sa.or_(done.time >= now - DAYS_S, own), ~whole)
    found = [_request(row) for row in connection.execute(chosen.order_by(done.id))]
    runs: dict[str, list[sa.Row[Any]]] = {}
    chosen = sa.select(LOOP_STEPS).where(step.run.in_([one.run for one in found]))
    for row in connection.execute(chosen) if found else ():
        runs.setdefault(row.run, []).append(row)
    return [(one, one.run in runs) for one in found if not _is_ended(runs.get(one.run, ()))]


def trained_since(connection: sa.Connection, family: str, since: float) -> sa.Row[Any] | None:
    """Return the family's first training that was done and began since a time; None where there is none."""
    one = TRAININGS.c
    chosen = sa.select(TRAININGS).where(one.family == family, one.started_at >= since, one.state == "done")
    return connection.execute(chosen.order_by(one.started_at).limit(1)).first()


def of_alert(connection: sa.Connection, alert: int, now: float) -> Progress | None:
    """Return what came of the training that was asked for by an alert's number; None where none was."""
    done = ALERT_ACTIONS.c
    chosen = _chosen().where(done.alert == alert, done.action == "retrain").order_by(done.id.desc()).limit(1)
    row = connection.execute(chosen).first()
    return None if row is None else _progress(connection, _request(row), now)


def of_rules(connection: sa.Connection, model: str, rules: int, now: float) -> Progress | None:
    """Return what came of the newest request to release a version of the rules; None where there was none."""
    alert = ALERTS.c
    chosen = sa.select(alert.id).where(_named(model, rules)).order_by(alert.id.desc()).limit(1)
    number = connection.execute(chosen).scalar()
    return None if number is None else of_alert(connection, number, now)


def count_of_rules(connection: sa.Connection, model: str, rules: int) -> int:
    """Return how often a version of the rules was asked to be released."""
    chosen = sa.select(sa.func.count()).select_from(ALERTS).where(_named(model, rules))
    return connection.execute(chosen).scalar_one()


def _named(model: str, rules: int) -> sa.ColumnElement[bool]:
    first = rules_key(rules, 0)
    named = sa.or_(ALERTS.c.name == first, ALERTS.c.name.startswith(f"{first} "))
    return sa.and_(ALERTS.c.model == model, ALERTS.c.kind == RULES, named)


def rules_key(rules: int, again: int) -> str:
    """Return the name of a request to release rules: the first one for a version, and those after it."""
    return f"rules {rules}" + (f" {again}" if again else "")


def is_attended(connection: sa.Connection, now: float) -> bool:
    """Return whether a loop runs, here or elsewhere."""
    held = sa.select(LEASES.c.name).where(LEASES.c.name.in_(LOOPS), LEASES.c.until > now - SILENT_S)
    return connection.execute(held.limit(1)).first() is not None


def _chosen() -> sa.Select[Any]:
    done, alert = ALERT_ACTIONS.c, ALERTS.c
    columns = (done.alert, done.time, done.who, alert.model, alert.kind, alert.name)
    return sa.select(*columns).join(ALERTS, alert.id == done.alert)


def _request(row: sa.Row[Any]) -> Request:
    rules = int(row.name.split(" ")[1]) if row.kind == RULES else None
    return Request(row.alert, row.model, row.time, row.who, rules)


def _progress(connection: sa.Connection, asked: Request, now: float) -> Progress:
    attended = is_attended(connection, now)
    step = LOOP_STEPS.c
    rows = connection.execute(sa.select(LOOP_STEPS).where(step.run == asked.run).order_by(step.started_at)).all()
    steps = {row.step: row for row in rows}
    last_step = steps.get(LAST_STEP)
    if not (train := steps.get("train")):
        if last_step:  # another training had begun since
            versions = _versions(connection, json.loads(last_step.result), {})
            return Progress(asked, "done", last_step.ended_at, attended, versions)
        return _by_another(connection, asked, attended, now)
    if train.state == "waiting":
        return Progress(asked, "waiting", train.ended_at, attended, reason=_end(train))
    if train.state == "running":
        return Progress(asked, "training", train.started_at, attended)
    if train.state == "failed":
        return Progress(asked, "failed", train.ended_at, attended, reason=_end(train), again=not _is_over(train))
    decided = {row.step: row for row in rows if row.step.startswith("promote ")}
    versions = _versions(connection, json.loads(train.result), {name: _said(row) for name, row in decided.items()})
    if last_step and last_step.state == "done":
        return Progress(asked, "done", last_step.ended_at, attended, versions)
    failed = [row for row in decided.values() if row.state == "failed"]
    words = "\n".join(_end(row) for row in decided.values() if row.state in ("waiting", "failed"))
    if failed and not _are_left(rows) and not any(row.state in ("waiting", "running") for row in decided.values()):
        ended = max(row.ended_at for row in failed)
        return Progress(asked, "failed", ended, attended, versions, words, not _is_ended(failed))
    return Progress(asked, "deciding", train.ended_at, attended, versions, words)


def _by_another(connection: sa.Connection, asked: Request, attended: bool, now: float) -> Progress:
    """Look for a training that someone started, or a day's run: its reason names the alert."""
    one = TRAININGS.c
    named = sa.select(TRAININGS).where(one.started_at >= asked.time, one.why.endswith(f" alert {asked.alert}"))
    row = connection.execute(named.order_by(one.started_at.desc()).limit(1)).first()
    late = asked.time < now - DAYS_S
    if row is None and late:
        reason = f"not begun within {DAYS_S / 86_400:.0f} days; ask again"
        return Progress(asked, "failed", asked.time + DAYS_S, attended, reason=reason)
    if row is None:
        return Progress(asked, "waiting", asked.time, attended)
    if row.state == "running":
        return Progress(asked, "training", row.started_at, attended)
    result = json.loads(row.result)
    if row.state == "failed":
        reason = str(result.get("tail", ""))[-500:]
        return Progress(asked, "failed", row.ended_at, attended, reason=reason, again=not late)
    return Progress(asked, "done", row.ended_at, attended, _versions(connection, result, {}))


def _versions(
    connection: sa.Connection, result: Mapping[str, Any], decided: Mapping[str, Mapping[str, Any]]
) -> list[Version]:
    found = []
    for one in result.get("trained", ()):
        said = decided.get(f"promote {one['model']}"[:64], {})
        mine = (ROLLOUTS.c.model == one["model"], ROLLOUTS.c.canary == one["version"])
        newest = sa.select(sa.func.max(ROLLOUTS.c.id)).where(*mine)
        number = said.get("rollout") or connection.execute(newest).scalar()
        found.append(
            Version(one["model"], one["version"], str(said.get("outcome", "")), str(said.get("why", "")), number)
        )
    return found


def _said(row: sa.Row[Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(row.result)
    return found


def _end(row: sa.Row[Any]) -> str:
    return f"{row.step}: {row.note.strip()[-500:] or row.exit}"


def _is_over(row: sa.Row[Any]) -> bool:
    return bool(row.state == "failed" and (row.attempts >= MOST_ATTEMPTS or row.exit == BAD_DATA))


def _is_ended(rows: Sequence[sa.Row[Any]]) -> bool:
    """Return whether a step failed for good and no other continues or is to begin; each model has its own."""
    going = any(row.state in ("waiting", "running") or (row.state == "failed" and not _is_over(row)) for row in rows)
    return not going and not _are_left(rows) and any(map(_is_over, rows))


def _are_left(rows: Sequence[sa.Row[Any]]) -> bool:
    """Return whether the decision of a model that was trained has not begun."""
    begun = {row.step for row in rows}
    trained = [one for row in rows if row.step == "train" for one in json.loads(row.result).get("trained", ())]
    return any(f"promote {one['model']}"[:64] not in begun for one in trained)
