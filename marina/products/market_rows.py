"""The market's windows as they were posted, and the alerts that were sent."""

import hashlib
import json
import time
from collections.abc import Mapping
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


def add_alert(database: Database, alert: Mapping[str, Any], interval_s: float, per_day: int, now: float) -> str | None:
    """Keep an alert if its type's pace allows another; return its id, else None."""
    given = MARKET_ALERTS.c
    kind = str(alert["alert_type"])
    ident = hashlib.sha256(canonical([kind, now]).encode()).hexdigest()[:32]
    row = {
        "id": ident, "alert_type": kind, "horizon": int(str(alert["horizon"]).removesuffix("h")),
        "alert": canonical({**alert, "id": ident}), "time": now,
    }  # fmt: skip
    of_day = sa.select(given.time).where(given.alert_type == kind, given.time > now - DAY_S)
    with database.writing(durable=True) as connection:
        if connection.dialect.name == "postgresql":  # two servers at once: one after the other
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(727470)"))
        times = list(connection.execute(of_day).scalars())
        longer = connection.execute(sa.select(sa.func.max(given.time)).where(given.alert_type == kind)).scalar()
        if len(times) >= per_day or (longer is not None and now - longer < interval_s):
            return None
        database.add_new(connection, MARKET_ALERTS, [row])
    return ident


def alerts_since(database: Database, after: tuple[float, str], limit: int = 100) -> list[dict[str, Any]]:
    """Return alerts that come after a time and id, the oldest first, each with its ``time``."""
    given = MARKET_ALERTS.c
    order = sa.tuple_(given.time, given.id)
    chosen = sa.select(given.alert, given.time).where(order > sa.tuple_(*after)).order_by(given.time, given.id)
    with database.reading() as connection:
        return [{**json.loads(row.alert), "time": row.time} for row in connection.execute(chosen.limit(limit))]
