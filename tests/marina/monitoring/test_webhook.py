import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from marina.database.connection import Database
from marina.monitoring import api
from marina.monitoring.alerts import open_alerts
from marina.monitoring.webhook import WebhookError, read_notices, record_notices
from marina.settings import Settings

ONE = {
    "status": "firing",
    "labels": {"alertname": "HighErrorRate", "model": "m", "version": "1.0", "severity": "alert"},
    "annotations": {"summary": "too many fail", "value": "0.07", "guide": "docs/ALERTING_GUIDE.md#higherrorrate"},
    "startsAt": "2026-11-27T12:00:00.123456789Z", "endsAt": "0001-01-01T00:00:00Z",
}  # fmt: skip


def call(*alerts: Any) -> bytes:
    return json.dumps({"version": "4", "status": "firing", "alerts": alerts}).encode()


def test_a_rules_alert_is_a_row_until_it_is_over(database: Database) -> None:
    assert record_notices(database, read_notices(call(ONE)), 100.0) == (1, 0)
    assert record_notices(database, read_notices(call(ONE)), 200.0) == (1, 0)
    with database.reading() as connection:
        [row] = open_alerts(connection)
    assert (row.model, row.version, row.kind, row.name, row.level) == ("m", "1.0", "rule", "HighErrorRate", "alert")
    assert (row.what, row.effect, row.opened_at, row.updated_at) == ("too many fail", 0.07, 100.0, 200.0)
    assert row.link.endswith("#higherrorrate") and 1.79e9 < row.since < 1.8e9
    over = ONE | {"status": "resolved"}
    assert record_notices(database, read_notices(call(over)), 300.0) == (0, 1)
    assert record_notices(database, read_notices(call(over)), 300.0) == (0, 0)


def test_what_says_that_all_is_well_is_no_alert() -> None:
    assert read_notices(call(ONE | {"labels": {"alertname": "Watchdog", "severity": "none"}})) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"nonsense", "body"),
        (b"[]", "alerts"),
        (b'{"alerts": {}}', "alerts"),
        (call(*[ONE] * 501), "alerts"),
        (call("x"), r"alerts\[0\]"),
        (call(ONE | {"status": "maybe"}), r"alerts\[0\].status"),
        (call(ONE, ONE | {"labels": {}}), r"alerts\[1\].labels.alertname"),
        (call(ONE | {"labels": {"alertname": "a b"}}), r"alerts\[0\].labels.alertname"),
        (call(ONE | {"labels": {"alertname": "A", "model": "m\n"}}), r"alerts\[0\].labels.model"),
        (call(ONE | {"labels": {"alertname": 7}}), r"alerts\[0\].labels"),
        (call(ONE | {"startsAt": "yesterday"}), r"alerts\[0\].startsAt"),
        (call(ONE | {"startsAt": None}), r"alerts\[0\].startsAt"),
    ],
)
def test_what_is_no_call_of_alertmanager_is_refused_by_field(body: bytes, field: str) -> None:
    with pytest.raises(WebhookError, match=f"^{field}: expected"):
        read_notices(body)


def test_the_process_takes_alerts_lists_them_and_is_scraped(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/marina.db")
    database.upgrade()
    transport = httpx.ASGITransport(api.application(database, Settings(state_dir=tmp_path)))

    async def go_through() -> None:
        async with httpx.AsyncClient(transport=transport, base_url="http://events") as client:
            assert (await client.post("/alerts", content=call(ONE))).json() == {"open": 1, "ended": 0}
            assert (await client.post("/alerts", content=b"{}")).status_code == 422
            assert (await client.post("/alerts", content=b"x" * 3_000_000)).status_code == 413
            [row] = (await client.get("/alerts")).json()["alerts"]
            assert row["name"] == "HighErrorRate"
            assert 'marina_alerts_open{of="rule",level="alert"} 1' in (await client.get("/metrics")).text

    asyncio.run(go_through())
    database.close()
