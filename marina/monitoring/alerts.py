"""Alerts: what was found, since when, on which evidence, and what a person decided about it.

There is one open alert per model, version, kind and name: found again, it is updated. What ends it depends on its kind.
A rule's alert ends when the rule no longer holds. One of a detector (drift, quality) ends with a person's decision: the
detector waits for that, and begins again after it.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.database.tables import ALERT_ACTIONS, ALERTS
from marina.releases import ledger

Level = Literal["warning", "alert", "critical"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""From the least to the most urgent."""

State = Literal["open", "acknowledged", "decided", "resolved"]
"""`decided`: a person said what to do; `resolved`: it ended by itself."""

ACKNOWLEDGE = "acknowledge"
DECISIONS = ("retrain", "nothing", "adjust", "roll_back")
"""What can be done about an alert. Beside them there is `ACKNOWLEDGE`: someone has seen it, and has yet to decide."""

RULE = "rule"
"""The kind of what a rule of Prometheus found."""

REQUEST = "request"
"""The kind of what a person asked for without an alert."""

RULES = "rules"
"""The kind of a version of edited rules that a person asked to release: a training of its own."""

LONGEST = {"model": 128, "version": 64, "kind": 32, "name": 64, "what": 1000, "harm": 500, "link": 500}
"""Characters that are kept of each text."""


class AlertError(MarinaError):
    """There is no such alert, or it is past deciding; the message says which there are."""


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes
    ----------
    model, version
        What it is about; empty where it is about the server.
    kind
        What found it: ``drift``, ``quality``, ``rule`` or ``notifier``.
    name
        Which of the kind's alerts it is, of a closed set.
    level
        How urgent it is.
    what
        What moved or failed, in a sentence.
    since
        Seconds since 1970.
    effect
        How large it is, in the unit that `what` names.
    evidence, needed
        How much speaks for it, and from where on that is enough; of detectors, log e-values.
    harm
        What it costs, with its interval where that is known.
    link
        Where to look.
    """

    model: str
    version: str
    kind: str
    name: str
    level: Level
    what: str
    since: float
    effect: float
    evidence: float
    needed: float
    harm: str
    link: str


@dataclass(frozen=True)
class Alert(Finding):
    """A finding that was recorded.

    Attributes
    ----------
    id
        Its number.
    opened_at, updated_at, resolved_at
        Seconds since 1970; it is open while `resolved_at` is None.
    state
        Where it stands.
    sent
        What people were last told of it: nothing, a level, or ``resolved``.
    """

    id: int
    opened_at: float
    updated_at: float
    resolved_at: float | None
    state: State
    sent: str


@dataclass(frozen=True)
class Action:
    """What someone did about an alert: who, when, which of `DECISIONS` or `ACKNOWLEDGE`, and why."""

    time: float
    who: str
    action: str
    note: str


def open_alert(database: Database, finding: Finding, now: float) -> int:
    """Record a finding: a new alert, or what is now known of the open one.

    An alert keeps the earliest `since`. One that someone has acknowledged and that becomes more urgent is open again.

    Parameters
    ----------
    now
        Seconds since 1970.

    Returns
    -------
    int
        The alert's number.
    """
    values = _values(finding)
    with database.writing(durable=True) as connection:
        ledger.lock(connection)  # else two servers would both find none
        same = [ALERTS.c[name] == values[name] for name in ("model", "version", "kind", "name")]
        row = connection.execute(sa.select(ALERTS).where(*same, ALERTS.c.resolved_at.is_(None))).one_or_none()
        if row is None:
            fresh = values | {"opened_at": now, "updated_at": now, "state": "open", "sent": ""}
            return int(connection.execute(sa.insert(ALERTS).returning(ALERTS.c.id), fresh).scalar_one())
        values |= {"since": min(row.since, finding.since), "updated_at": now}
        if row.state == "acknowledged" and LEVELS.index(finding.level) > LEVELS.index(row.level):
            values["state"] = "open"
        connection.execute(sa.update(ALERTS).where(ALERTS.c.id == row.id).values(values))
        return int(row.id)


def resolve_alert(database: Database, alert_id: int, now: float, why: str) -> None:
    """End an alert that no longer holds; nothing happens to one that has ended.

    Parameters
    ----------
    why
        Is added to what it says.
    """
    with database.writing(durable=True) as connection:
        row = _row(connection, alert_id)
        if row.resolved_at is None:
            what = f"{row.what}; ended: {why}"[: LONGEST["what"]] if why else row.what
            ended = sa.update(ALERTS).where(ALERTS.c.id == alert_id, ALERTS.c.resolved_at.is_(None))
            connection.execute(ended.values(state="resolved", resolved_at=now, updated_at=now, what=what))


def find_open(connection: sa.Connection, model: str, version: str, kind: str, name: str) -> int | None:
    """Return the number of the open alert of that key; None where there is none."""
    same = (ALERTS.c.model == model, ALERTS.c.version == version, ALERTS.c.kind == kind, ALERTS.c.name == name)
    return connection.execute(sa.select(ALERTS.c.id).where(*same, ALERTS.c.resolved_at.is_(None))).scalar()


def undecided(connection: sa.Connection, model: str) -> list[Alert]:
    """Return a model's open alerts about which no one has decided yet, the oldest first."""
    waiting = (ALERTS.c.model == model, ALERTS.c.resolved_at.is_(None), ALERTS.c.state.in_(("open", "acknowledged")))
    return _alerts(connection, sa.select(ALERTS).where(*waiting).order_by(ALERTS.c.id))


def open_alerts(connection: sa.Connection) -> list[Alert]:
    """Return every open alert, the oldest first."""
    return _alerts(connection, sa.select(ALERTS).where(ALERTS.c.resolved_at.is_(None)).order_by(ALERTS.c.id))


def latest(connection: sa.Connection, count: int, model: str | None = None) -> list[Alert]:
    """Return the last alerts, ended ones included, the newest first."""
    query = sa.select(ALERTS).order_by(ALERTS.c.id.desc()).limit(count)
    return _alerts(connection, query if model is None else query.where(ALERTS.c.model == model))


def read(connection: sa.Connection, alert_id: int) -> tuple[Alert, list[Action]]:
    """Return an alert, and what was done about it.

    Raises
    ------
    AlertError
        When there is none of that number.
    """
    done = sa.select(ALERT_ACTIONS).where(ALERT_ACTIONS.c.alert == alert_id).order_by(ALERT_ACTIONS.c.id)
    actions = [Action(row.time, row.who, row.action, row.note) for row in connection.execute(done)]
    return Alert(**_row(connection, alert_id)._mapping), actions


def acknowledge(database: Database, alert_id: int, who: str, note: str, now: float) -> None:
    """Record that someone has seen an alert.

    Raises
    ------
    AlertError
        When there is none of that number, or it is not open.
    """
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        row = _still_open(connection, alert_id)
        seen = sa.update(ALERTS).where(ALERTS.c.id == alert_id, ALERTS.c.state == "open")
        connection.execute(seen.values(state="acknowledged", updated_at=now))
        _act(connection, alert_id, who, ACKNOWLEDGE, note, now)
        ledger.append(connection, who, "acknowledge alert", row.model, _evidence(row) | {"why": note}, now)


def decide(database: Database, alert_id: int, who: str, action: str, why: str, now: float) -> None:
    """Record a person's decision, as a row of its own and in the ledger. Nothing else is done here.

    Parameters
    ----------
    database
        One for a writer of the ledger (`marina.releases.heads.open_database`).
    action
        One of `DECISIONS`.

    Raises
    ------
    AlertError
        When there is no such alert or decision, no reason is given, or the alert is not open.
    """
    if action not in DECISIONS:
        raise AlertError(f"{action!r} is no decision; expected one of {', '.join(DECISIONS)}.")
    if not why.strip():
        raise AlertError("A decision needs a reason: --why '...'. It is kept in the ledger.")
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        row = _still_open(connection, alert_id)
        values: dict[str, Any] = {"state": "decided", "updated_at": now}
        if row.kind != RULE:
            values["resolved_at"] = now
        connection.execute(sa.update(ALERTS).where(ALERTS.c.id == alert_id).values(values))
        _act(connection, alert_id, who, action, why, now)
        details = _evidence(row) | {"why": why, "decision": action}
        ledger.append(connection, who, "decide alert", row.model, details, now)


def request_training(
    database: Database, model: str, who: str, why: str, key: str, now: float, rules: int | None = None
) -> int:
    """Ask for a training that no alert asks for: an alert of its own kind, which is decided as it is opened.

    The loop takes it for a decision to retrain. Doing it again with the same key changes nothing.

    Parameters
    ----------
    database
        One for a writer of the ledger (`marina.releases.heads.open_database`).
    key
        What distinguishes this request from others, at most 64 characters.
    rules
        Which version of the rules it is to release.

    Returns
    -------
    int
        The alert's number.

    Raises
    ------
    AlertError
        When no reason is given.
    """
    if not why.strip():
        raise AlertError("A request to retrain needs a reason. It is kept in the ledger.")
    kind, wish = (REQUEST, "a training") if rules is None else (RULES, f"version {rules} of the rules to be released")
    finding = Finding(model, "", kind, key, "warning", f"{who} asked for {wish}: {why}", now, 0, 0, 0, "", "")
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        values = _values(finding)
        asked = (ALERTS.c.model == model, ALERTS.c.version == "", ALERTS.c.kind == kind, ALERTS.c.name == key)
        if (there := connection.execute(sa.select(ALERTS.c.id).where(*asked)).scalar()) is not None:
            return int(there)
        values |= {"opened_at": now, "updated_at": now, "resolved_at": now, "state": "decided", "sent": ""}
        number = int(connection.execute(sa.insert(ALERTS).returning(ALERTS.c.id), values).scalar_one())
        _act(connection, number, who, "retrain", why, now)
        action = "trigger retrain" if rules is None else "release rules"
        about = {} if rules is None else {"rules": rules}
        ledger.append(connection, who, action, model, {"alert": number, "why": why, **about}, now)
    return number


def unsent(connection: sa.Connection) -> list[Alert]:
    """Return the alerts of which people do not yet know: new, more urgent than they were told, or over."""
    ended = sa.and_(ALERTS.c.resolved_at.is_not(None), ALERTS.c.sent.not_in(("", "resolved")))
    changed = sa.and_(ALERTS.c.resolved_at.is_(None), ALERTS.c.sent != ALERTS.c.level)
    found = _alerts(connection, sa.select(ALERTS).where(sa.or_(ended, changed)).order_by(ALERTS.c.id))
    return [one for one in found if one.resolved_at is not None or _is_news(one)]


def mark_sent(database: Database, alerts: Sequence[Alert]) -> None:
    """Record that people were told of alerts, as these were when they were read."""
    with database.writing() as connection:
        for one in alerts:
            said = "resolved" if one.resolved_at is not None else one.level
            connection.execute(sa.update(ALERTS).where(ALERTS.c.id == one.id).values(sent=said))


def _is_news(one: Alert) -> bool:
    return one.sent not in LEVELS or LEVELS.index(one.level) > LEVELS.index(one.sent)


def _values(finding: Finding) -> dict[str, Any]:
    fields = {field.name: getattr(finding, field.name) for field in dataclasses.fields(Finding)}
    return fields | {name: fields[name].replace("\0", "")[:length] for name, length in LONGEST.items()}


def _evidence(row: sa.Row[Any]) -> dict[str, Any]:
    about = {"alert": row.id, "kind": row.kind, "name": row.name, "version": row.version}
    return about | {"effect": row.effect, "evidence": row.evidence, "needed": row.needed}


def _act(connection: sa.Connection, alert_id: int, who: str, action: str, note: str, now: float) -> None:
    row = {"alert": alert_id, "time": now, "who": who, "action": action, "note": note}
    connection.execute(sa.insert(ALERT_ACTIONS), row)


def _row(connection: sa.Connection, alert_id: int) -> sa.Row[Any]:
    row = connection.execute(sa.select(ALERTS).where(ALERTS.c.id == alert_id)).one_or_none()
    if row is None:
        raise AlertError(f"There is no alert {alert_id}: scripts/alerts.py list shows those there are.")
    return row


def _still_open(connection: sa.Connection, alert_id: int) -> sa.Row[Any]:
    row = _row(connection, alert_id)
    if row.state not in ("open", "acknowledged"):
        raise AlertError(f"Alert {alert_id} is {row.state} already: scripts/alerts.py show {alert_id} says by whom.")
    return row


def _alerts(connection: sa.Connection, query: sa.Select[Any]) -> list[Alert]:
    return [Alert(**row._mapping) for row in connection.execute(query)]
