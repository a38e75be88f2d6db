"""What is too old goes."""

import pytest
import sqlalchemy as sa

from events import access
from events.database import Database
from events.positions import of_shadow
from events.retention import DAY_S, forget
from events.tables import EVIDENCE, INPUTS, LABELS, POSITIONS, PREDICTIONS, REPLICAS, SHADOW_PAIRS


def test_what_is_too_old_is_deleted_in_small_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.retention.BATCH_ROWS", 10)
    now = 1_000 * DAY_S
    shared = {"request_id": "r", "model": "m", "version": "1", "instance": 0}
    with database.writing() as connection:
        for at in range(60):
            row = shared | {"request_id": f"{at}", "version": f"{at % 2}", "time": now - at * DAY_S + 1}
            database.add_new(connection, PREDICTIONS, [row | {"picked": True, "answer": "{}"}])
            database.add_new(
                connection,
                INPUTS,
                [{k: row[k] for k in ("request_id", "model", "version", "time")} | {"content_type": "", "body": b""}],
            )
            database.add_new(
                connection, LABELS, [{"request_id": f"{at}", "instance": 0, "label": "", "time": row["time"]}]
            )
            pair = {"request_id": f"{at}", "model": "m", "shadow": "2", "stable": "1", "instance": 0, "status": 200}
            database.add_new(connection, SHADOW_PAIRS, [pair | {"time": row["time"]}])
            access.add_windows(database, connection, "here", {access.Key("m", "1", int(row["time"])): access.Window(1)})
            report = {"replica": f"{at}", "model": "m", "version": "1", "sha256": "", "state": "ready", "reason": ""}
            database.add_new(connection, REPLICAS, [report | {"weight": 1.0, "seen_at": row["time"]}])
            places = {of_shadow("m", f"{at // 10}"): int(row["time"] * 1000), f"folder spool 7-{at}": at}
            rows = [{"source": source, "position": position} for source, position in places.items()]
            database.add_new(connection, POSITIONS, rows)
    assert max(forget(database, now, retention_days=30, input_retention_days=7)) == 10
    with database.reading() as connection:
        left = {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (PREDICTIONS, INPUTS, LABELS, SHADOW_PAIRS, EVIDENCE, REPLICAS)
        }
        shadows = sa.select(sa.func.count()).where(POSITIONS.c.source.startswith("shadow/"))
        assert connection.execute(shadows).scalar_one() == 4
        assert connection.execute(sa.select(sa.func.count()).select_from(POSITIONS)).scalar_one() == 4 + 60
    assert left.pop("inputs") == 8
    assert set(left.values()) == {31}
