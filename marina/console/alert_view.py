"""Alerts as their pages show them: a page of them by key, what people did, what other thresholds would have done."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from marina.console.plots import Line
from marina.database.tables import ALERT_ACTIONS, ALERTS, DRIFT_REPORTS
from marina.monitoring.alerts import RULE, Alert
from marina.monitoring.watch_settings import WatchSettings

PAGE = 30
DAY_S = 86_400.0
MOST_REPORTS = 90
STATES = ("open", "all")


@dataclass(frozen=True)
class Listed:
    """A page of alerts, and before which number the next one begins; None where there is none."""

    alerts: Sequence[Alert]
    before: int | None


def listing(connection: sa.Connection, before: int | None, model: str, state: str) -> Listed:
    """Return a page of alerts, the newest first: open ones, or all."""
    one = ALERTS.c
    chosen = sa.select(ALERTS).order_by(one.id.desc()).limit(PAGE + 1)
    chosen = chosen.where(one.resolved_at.is_(None)) if state != "all" else chosen
    chosen = chosen.where(one.model == model) if model else chosen
    chosen = chosen.where(one.id < before) if before is not None else chosen
    found = [Alert(**row._mapping) for row in connection.execute(chosen)]
    return Listed(found[:PAGE], found[PAGE - 1].id if len(found) > PAGE else None)


def history(connection: sa.Connection, before: int | None) -> tuple[list[Any], int | None]:
    """Return what people did about alerts, the newest first, and before which row the next page begins."""
    done = ALERT_ACTIONS.c
    columns = (done.id, done.time, done.who, done.action, done.note, done.alert, ALERTS.c.model, ALERTS.c.name)
    chosen = sa.select(*columns).join(ALERTS, ALERTS.c.id == done.alert).order_by(done.id.desc()).limit(PAGE + 1)
    rows = list(connection.execute(chosen.where(done.id < before) if before is not None else chosen))
    return rows[:PAGE], rows[PAGE - 1].id if len(rows) > PAGE else None


def would_have_been(connection: sa.Connection, model: str, by: WatchSettings, now: float) -> Counter[str]:
    """Count by level what a model's drift alarms of the last 30 days would have been by other thresholds.

    ``none`` counts those that would not have been worth a warning.
    """
    one = ALERTS.c
    raised = sa.select(one.effect).where(one.model == model, one.opened_at >= now - 30 * DAY_S, one.kind == "drift")
    return Counter(by.level(effect) or "none" for effect in connection.execute(raised).scalars())


def drift_scores(connection: sa.Connection, model: str) -> list[Line]:
    """Return a model's drift over its last reports, by kind: effects."""
    one = DRIFT_REPORTS.c
    names = ("data", "prediction", "performance")
    chosen = sa.select(one.created_at, *(one[f"{name}_drift_score"].label(name) for name in names))
    rows = connection.execute(
        chosen.where(one.model == model).order_by(one.created_at.desc()).limit(MOST_REPORTS)
    ).all()
    series = [
        Line(name, [(row.created_at, value) for row in reversed(rows) if (value := getattr(row, name)) is not None])
        for name in names
    ]
    return [line for line in series if line.points]


def can_be_decided(alert: Alert) -> bool:
    """Return whether someone may still decide about an alert."""
    return alert.state in ("open", "acknowledged")


def is_of_rule(alert: Alert) -> bool:
    """Return whether a rule of Prometheus found it: it ends by itself."""
    return alert.kind == RULE
