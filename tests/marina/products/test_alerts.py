"""What users and listeners are told: predictive alerts, the stream, trainings."""

import asyncio
import http.server
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.loop_tables import LOOP_STEPS
from marina.database.product_tables import USERS
from marina.monitoring import alerts
from marina.monitoring.loop_metrics import LAST_STEP
from marina.products import market_feed, user_settings
from marina.products.budget_alerts import send_alerts
from marina.products.errors import ProductError
from marina.products.market_config import MODEL, MarketConfig
from marina.products.market_feed import Feed
from marina.products.market_predictions import phrase
from marina.products.market_rows import add_alerts, alerts_since
from marina.products.market_stream import MOST_LISTENERS, WAITING, Event, Stream, event
from marina.products.recommendations import recommend
from marina.releases import ledger
from tests.marina.products.conftest import Products
from tests.marina.products.test_products import month


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that takes posts, and what came."""
    came: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", came
        server.shutdown()
        thread.join()


def test_a_user_is_told_once_of_a_months_overspend(
    products: Products, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    url, came = webhook
    set_up = products.client.put("/ml/budget/channels/dora", json={"channels": [url], "language": "en"})
    assert set_up.status_code == 200 and set_up.json()["channels"] == 1
    first = products.client.post("/ml/budget/analyze", json=month(user="dora")).json()
    assert [one["sent"] for one in first["alerts"]] == [True]
    second = products.client.post("/ml/budget/analyze", json=month(user="dora")).json()
    assert second["alerts"] == [] and len(came) == 1
    assert "“alimentation”" in came[0]["text"] and came[0]["alerts"][0]["user"] == "dora"


def test_an_alert_that_no_channel_took_is_sent_again_and_one_that_was_is_not(
    database: Database, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    url, came = webhook
    finding = {
        "kind": "overspend", "category": "loisirs", "over_eur": 50, "forecast_eur": 250, "limit_eur": 200,
        "spent_eur": 120, "probability": 0.9, "against": "budget",
    }  # fmt: skip
    made = [one for one in [recommend("u", "2026-11", finding)] if one is not None]
    user_settings.add_recommendations(database, "u", "r", made)

    def sent(now: float) -> list[bool]:
        outcomes = send_alerts(database, ["127.0.0.1"], "u", "2026-11", made, now)
        return [one["sent"] for one in outcomes]

    assert sent(1e9) == []
    user_settings.write_channels(database, "u", ["http://127.0.0.1:9/closed"], "en")
    assert sent(1e9) == [False]
    user_settings.write_channels(database, "u", ["http://127.0.0.1:9/closed", url], "en")
    user_settings.add_recommendations(database, "u", "another", made)
    assert [sent(1e9 + after) for after in (1, 60, 61, 1e6)] == [[], [False, True], [], []]
    assert len(came) == 1


def test_channels_that_never_take_an_alert_are_tried_ever_more_rarely(database: Database) -> None:
    finding = {"kind": "overspend", "category": "loisirs", "over_eur": 50, "forecast_eur": 250, "limit_eur": 200,
               "spent_eur": 120, "probability": 0.9, "against": "budget"}  # fmt: skip
    made = [one for one in [recommend("u", "2026-11", finding)] if one is not None]
    user_settings.add_recommendations(database, "u", "r", made)
    user_settings.write_channels(database, "u", ["http://127.0.0.1:9/closed"], "en")
    begun, idents = time.time(), [one.id for one in made]
    day = 86_400.0
    tried = [
        after
        for after in (0, 30, 61, 120, 600, 620, 3600, 6300, 7200, 60_000, 63_100, day, 63_000 + day, 63_200 + day)
        if user_settings.take_unsent(database, idents, begun + after)
    ]
    assert tried == [0, 61, 620, 6300, 63_100, 63_200 + day]
    with database.writing() as connection:  # the user has corrected the address
        connection.execute(sa.update(USERS).values(changed_at=begun + 63_300 + day))
    assert user_settings.take_unsent(database, idents, begun + 63_301 + day) == set(idents)


def test_a_training_is_asked_for_as_everywhere_and_is_in_the_ledger(products: Products) -> None:
    body = {"who": "emil", "why": "new data"}
    asked = products.client.post("/api/ml/models/retrain", json=body)
    assert asked.status_code == 202, asked.text
    assert products.client.post("/api/ml/models/retrain", json={**body, "why": " "}).status_code == 422
    with products.database.reading() as connection:
        row = [one for one in ledger.entries(connection) if one.action == "trigger retrain"][-1]
        alert, [action] = alerts.read(connection, asked.json()["request"])
    assert (row.who, row.model, row.said["why"]) == ("emil", MODEL, "new data")
    assert (alert.model, alert.state, action.who, action.action) == (MODEL, "decided", "emil", "retrain")
    ask, first = {"who": "frieda", "why": "newer data"}, asked.json()
    second = products.client.post("/api/ml/models/retrain", json=ask).json()
    assert [(one["request"], one["status"]) for one in (first, second)] == [
        (alert.id, "requested"), (alert.id, "waiting"),
    ]  # fmt: skip
    assert products.client.post("/api/ml/models/retrain", json={**ask, "why": " "}).status_code == 422
    shown = products.client.get("/api/ml/models/status").json()["trainings_asked_for"]
    assert [(one["request"], one["who"], one["begun"]) for one in shown["requests"]] == [(alert.id, "emil", False)]
    assert shown["loop_runs"] is False
    steps = [("train", "running"), (LAST_STEP, "done")]
    for step, state in steps:
        said = {
            "run": f"asked {alert.id}", "family": "market", "step": step, "state": state, "attempts": 1, "exit": 0,
            "started_at": time.time(), "result": "{}", "note": "",
        }  # fmt: skip
        with products.database.writing() as connection:
            connection.execute(sa.insert(LOOP_STEPS), said)
        another = products.client.post("/api/ml/models/retrain", json=ask).json()
        assert another["request"] != alert.id  # one that has begun knows no newer data
        assert another["status"] == ("requested" if step == "train" else "waiting")


def test_alerts_of_a_type_keep_its_pace(database: Database) -> None:
    alert = {"alert_type": "SPIKE_LIKELY", "horizon": "4h"}
    hour = 3600.0
    sent = [bool(add_alerts(database, [alert], 6 * hour, 4, 1e9 + at * hour)) for at in (0, 5, 6, 12, 18, 24, 30)]
    assert sent == [True, False, True, True, True, True, True]
    close = [bool(add_alerts(database, [alert], 0.0, 4, 2e9 + at)) for at in range(6)]
    assert close == [True] * 4 + [False] * 2
    other = {**alert, "alert_type": "CORRELATION_BREAKDOWN"}
    with pytest.raises(ValueError, match="soon"):
        add_alerts(database, [other, {**other, "alert_type": "REGIME_CHANGE_PENDING", "horizon": "soon"}], 0.0, 9, 2e9)
    assert add_alerts(database, [other, alert], 6 * hour, 4, 2e9)[0]["alert_type"] == "CORRELATION_BREAKDOWN"
    assert [one["time"] for one in alerts_since(database, (2e9 + 1, "g"), 9)] == [2e9 + 2, 2e9 + 3]


def test_settings_gate_alerts_and_outlive_the_process(database: Database) -> None:
    market = MarketConfig(database, 600.0)
    answered = {
        "alert_type": "SPIKE_LIKELY", "horizon_h": 4, "probability": 0.9, "alert": True, "confidence": 0.9,
        "already": False, "severity_estimate": 1.2, "reading": 0.1, "target_time": None, "assets_affected": ["BTC"],
    }  # fmt: skip
    said = phrase(answered, "1.0", market.read(), "calm")
    assert (said["severity_estimate"], said["alert"], said["gated_by"]) == ("S3", True, None)
    market.change({"phase_gating": {"calm": []}}, "f", "calm is calm")
    assert phrase(answered, "1.0", market.read(), "calm")["gated_by"] == "phase"
    assert phrase(answered, "1.0", market.read(), "stressed")["alert"]
    market.change({"prediction_thresholds": {"SPIKE_LIKELY": {"S2": 0.85, "S3": 0.95}}}, "f", "rarer")
    again = MarketConfig(database, 600.0).read()
    assert again.phase_gating["calm"] == [] and phrase(answered, "1.0", again, "calm")["severity_estimate"] == "S2"
    with database.reading() as connection:
        assert ledger.verify(connection) == [] and len(list(ledger.entries(connection))) == 2


def test_who_comes_back_gets_each_alert_after_the_last_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ("SPIKE_LIKELY", "CORRELATION_BREAKDOWN", "REGIME_CHANGE_PENDING")
    assert len(add_alerts(database, [{"alert_type": kind, "horizon": "4h"} for kind in kinds], 0.0, 4, 1e9)) == 3
    of_one_time = alerts_since(database, (1e9, ""), 9)
    assert len(of_one_time) == 3
    assert alerts_since(database, (1e9, of_one_time[0]["id"]), 9) == of_one_time[1:]
    assert alerts_since(database, (1e9, "window-" + "f" * 32), 9) == []
    monkeypatch.setattr(market_feed, "PAGE", 2)

    async def replayed() -> list[str]:
        return [one.ident async for one in market_feed.Feed(database, Stream()).after((1e9, ""))]

    assert asyncio.run(replayed()) == [f"{1e9}:{one['id']}" for one in of_one_time]


def test_listeners_of_every_server_get_each_alert_once(database: Database) -> None:
    """Two processes share a database; the second's listener gets the first's alerts, late ones, too."""
    start = time.time()

    def sent(kind: str, at: float) -> list[dict[str, Any]]:
        return add_alerts(database, [{"alert_type": kind, "horizon": "4h"}], 0.0, 4, at)

    async def main() -> None:
        sent("SPIKE_LIKELY", start - 1)  # before either process began
        first, second = Stream(), Stream()
        feeds = Feed(database, first), Feed(database, second)
        events = [one.listen() for one in (first, second)]
        assert [await anext(one) for one in events] == [b"retry: 2000\n\n"] * 2
        expected = []
        for kind, after in (("A", 5.0), ("B", 2.0)):
            [alert] = alerts = sent(kind, time.time() + after)
            async with first.turn:
                feeds[0].publish(alerts)
            expected.append(event("alert", alert["time"], alert["id"], alert).written)
            for _ in range(2):
                for feed in feeds:
                    await feed.look()
        for one in events:
            assert [await anext(one) for _ in expected] == expected
        first.close()
        second.close()
        assert [[left async for left in one] for one in events] == [[], []]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_listeners_get_what_comes_and_slow_ones_are_let_go() -> None:
    async def main() -> None:
        stream = Stream()

        async def missed() -> AsyncIterator[Event]:
            assert len(stream) == 1  # from here on nothing can be missed
            stream.publish(event("alert", 1.0, "a", {"a": 1}))
            yield event("alert", 1.0, "a", {"a": 1})

        events = stream.listen(missed())
        assert len(stream) == 0  # one that goes before it listens leaves nothing
        assert await anext(events) == b"retry: 2000\n\n"
        assert b"id: 1.0:a\n" in await anext(events)
        stream.publish(event("predictions", 2.0, "b", {"b": 2}))
        assert await anext(events) == b'event: predictions\nid: 2.0:b\ndata: {"b":2}\n\n'
        for number in range(WAITING + 1):
            stream.publish(event("alert", 3.0, str(number), {}))
        assert len(stream) == 0
        assert len([one async for one in events]) == WAITING
        kept = [stream.listen() for _ in range(MOST_LISTENERS)]
        assert [await anext(one) for one in kept] == [b"retry: 2000\n\n"] * MOST_LISTENERS
        with pytest.raises(ProductError, match="Too many"):
            stream.listen()
        stream.close()
        for one in kept:
            assert [written async for written in one] == []

    asyncio.run(asyncio.wait_for(main(), 20))
