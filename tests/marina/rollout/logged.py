"""Rows as the supervisor, the collector and the controller write them, for tests of what reads them."""

import json
import time
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, INPUTS, PREDICTIONS, REPLICAS, ROLLOUTS

MODEL = "colours"
STARTED = 1_000.0


def shadowing(
    database: Database, model: str = MODEL, phase: str = "shadow", replica: str = "here", state: str = "ready"
) -> None:
    """Write that version 2.0 shadows version 1.0 on a replica."""
    with database.writing() as connection:
        rollout = {"model": model, "stable": "1.0", "canary": "2.0", "phase": phase, "step": 0, "paused": False}
        rollout |= {"policy": "{}", "started_by": "a test", "started_at": STARTED, "phase_since": STARTED, "note": ""}
        if connection.execute(sa.select(sa.func.count()).select_from(ROLLOUTS)).scalar_one() == 0:
            connection.execute(sa.insert(ROLLOUTS), rollout)
        for version, weight in (("1.0", 100.0), ("2.0", 0.0 if phase == "shadow" else 5.0)):
            one = {"model": model, "version": version, "sha256": "0" * 64, "weight": weight}
            declared = {"archive": "", "input_share": 1.0, "declared_at": STARTED}
            database.put(connection, DECLARATIONS, [one | declared])
            runs = {"replica": replica, "state": state, "reason": "", "seen_at": time.time()}
            database.put(connection, REPLICAS, [one | runs])


def answered(
    database: Database,
    request_id: str,
    at: float = STARTED + 1,
    label: str = "red",
    confidence: float = 0.9,
    body: dict[str, Any] | bytes | None = None,
    labels: tuple[str, ...] = (),
    version: str = "1.0",
    kept: bool = True,
    content_type: str = "application/json",
) -> None:
    """Write that version 1.0 answered a request, of one instance or of one per label, and that its input was kept."""
    labels = labels or (label,)
    with database.writing() as connection:
        connection.execute(
            sa.insert(PREDICTIONS),
            [
                {
                    "request_id": request_id,
                    "model": MODEL,
                    "version": version,
                    "instance": instance,
                    "time": at,
                    "picked": True,
                    "label": said,
                    "confidence": confidence,
                    "serving_ms": 1.5,
                    "answer": json.dumps([{"label": said, "probability": confidence}]),
                }
                for instance, said in enumerate(labels)
            ],
        )
        if kept:
            content = body if isinstance(body, bytes) else json.dumps(body or {"colour": label}).encode()
            row = {"request_id": request_id, "model": MODEL, "version": version, "time": at, "body": content}
            connection.execute(sa.insert(INPUTS), row | {"content_type": content_type})


def rows(database: Database, table: sa.Table) -> list[dict[str, Any]]:
    """Return a table's rows by its key."""
    with database.reading() as connection:
        found = connection.execute(sa.select(table).order_by(*table.primary_key.columns))
        return [dict(row) for row in found.mappings()]
