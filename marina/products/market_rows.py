"""The market's windows as they were posted, and the alerts that were sent."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.product_tables import MARKET_ALERTS, MARKET_WINDOWS
from marina.releases.ledger import canonical

KEPT_WINDOWS = 500
"""How many windows are kept; older ones go as new ones come."""

DAY_S = 86_400.0


@dataclass(frozen=True)
class Window:
    """A week of prices, as the model takes it.

    Attributes
    ----------
    id
        A hash of the body.
    body
        The request's body for the model.
    received_at
        Seconds since 1970.
    """

    id: str
    body: Mapping[str, Any]
    received_at: float


def add_window(database: Database, body: Mapping[str, Any]) -> Window:
    """Keep a window; the one that was posted last is the current one."""
    text = canonical(body)
    window = Window(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32], body, time.time())
    given = MARKET_WINDOWS.c
    row = {"id": window.id, "body": text, "time": str(body.get("time") or ""), "received_at": window.received_at}
    with database.writing(durable=True) as connection:
        database.put(connection, MARKET_WINDOWS, [row])
        oldest = sa.select(given.received_at).order_by(given.received_at.desc()).offset(KEPT_WINDOWS).limit(1)
        if (end := connection.execute(oldest).scalar()) is not None:
            connection.execute(sa.delete(MARKET_WINDOWS).where(given.received_at <= end))
    return window


def current_window(database: Database) -> Window | None:
    """Return the window that was posted last."""
    newest = sa.select(MARKET_WINDOWS).order_by(MARKET_WINDOWS.c.received_at.desc()).limit(1)
    with database.reading() as connection:
        row = connection.execute(newest).first()
    return Window(row.id, json.loads(row.body), row.received_at) if row else None


def add_alerts(
    database: Database, alerts: Iterable[Mapping[str, Any]], interval_s: float, per_day: int, now: float
) -> list[dict[str, Any]]:
    """Keep those alerts, at most one of each type, whose type's pace allows another: all of them, or none.

    Returns
    -------
    list of dict
        Those that are kept, each with its ``id`` and ``time``.
    """
    given = MARKET_ALERTS.c
    kept, rows = [], []
    with database.writing(durable=True) as connection:
        if connection.dialect.name == "postgresql":  # two servers at once: one after the other
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(727470)"))
        for alert in alerts:
            kind = str(alert["alert_type"])
            of_day = sa.select(sa.func.count()).where(given.alert_type == kind, given.time > now - DAY_S)
            newest = connection.execute(sa.select(sa.func.max(given.time)).where(given.alert_type == kind)).scalar()
            if connection.execute(of_day).scalar_one() >= per_day or (newest is not None and now - newest < interval_s):
                continue
            ident = hashlib.sha256(canonical([kind, now]).encode()).hexdigest()[:32]
            whole = {**alert, "id": ident}
            horizon = int(str(alert["horizon"]).removesuffix("h"))
            rows.append({"id": ident, "alert_type": kind, "horizon": horizon, "alert": canonical(whole), "time": now})
            kept.append({**whole, "time": now})
        if rows:
            database.add_new(connection, MARKET_ALERTS, rows)
    return kept


def alerts_since(database: Database, after: tuple[float, str], limit: int) -> list[dict[str, Any]]:
    """Return the first alerts that come after a time and id, the oldest first, each with its ``time``."""
    given = MARKET_ALERTS.c
    order = sa.tuple_(given.time, given.id)
    chosen = sa.select(given.alert, given.time).where(order > sa.tuple_(*after)).order_by(given.time, given.id)
    with database.reading() as connection:
        return [{**json.loads(row.alert), "time": row.time} for row in connection.execute(chosen.limit(limit))]
