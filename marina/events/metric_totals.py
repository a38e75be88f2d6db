"""Where counters stood, so that they continue when a server starts again."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import METRIC_TOTALS


def load(connection: sa.Connection, replica: str) -> tuple[float, Mapping[str, Any]] | None:
    """Return what a server last saved, and up to when that counts; None where it has saved nothing, or nothing usable.

    Parameters
    ----------
    replica
        The server's name.
    """
    row = connection.execute(sa.select(METRIC_TOTALS).where(METRIC_TOTALS.c.replica == replica)).one_or_none()
    if row is None:
        return None
    try:
        totals = json.loads(row.totals)
    except ValueError:
        return None
    return (row.until, totals) if isinstance(totals, dict) else None


def save(database: Database, connection: sa.Connection, replica: str, until: float, totals: Mapping[str, Any]) -> None:
    """Replace what a server saved."""
    row = {"replica": replica, "until": until, "totals": json.dumps(totals, separators=(",", ":"))}
    database.put(connection, METRIC_TOTALS, [row])
