import functools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archives.store import unpack
from handlers.market import MarketHandler
from handlers.wire import JSON
from models.market.alerts import LABELS, THRESHOLDS
from models.market.features import NAMES, features
from tests.families.market import prices_of, releases
from tests.handlers.context import Context
from training.archive import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("market")
    unpack(build(releases()["market_alerts"], store).path, store / "unpacked")
    return store / "unpacked"


@pytest.fixture(scope="module")
def handler(folder: Path) -> MarketHandler:
    loaded = MarketHandler()
    loaded.initialize(Context(folder))
    return loaded


@pytest.fixture(scope="module")
def ask(handler: MarketHandler, folder: Path) -> Any:
    def asked(body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        context = Context(folder, [{"Content-Type": JSON, **headers}])
        [answer] = handler.handle([{"body": bytearray(json.dumps(body).encode())}], context)
        return context.statuses[0], json.loads(answer)

    return asked


@functools.cache
def body() -> dict[str, Any]:
    return {"prices": prices_of(6, 168, 100), "time": "2026-11-21T14:00:00Z", "fear_greed": 40}


def by_label(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["label"]: one for one in answer["predictions"]}


def test_all_sixteen_questions_are_answered_the_most_probable_first(ask):
    status, answer = ask(body())
    assert status == 200 and set(by_label(answer)) == set(LABELS) and len(answer["predictions"]) == 16
    probabilities = [one["probability"] for one in answer["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True) and 0 <= probabilities[-1] <= probabilities[0] <= 1
    for one in answer["predictions"]:
        assert one["label"] == f"{one['alert_type']}@{one['horizon_h']}h"
        assert 0 <= one["confidence"] <= 1
        assert set(one["assets_affected"]) <= set(body()["prices"])


def test_top_k_asks_for_fewer(ask):
    _, all_of_them = ask(body())
    _, three = ask({**body(), "top_k": 3})
    assert three["predictions"] == all_of_them["predictions"][:3]


def test_targets_are_as_far_ahead_as_their_horizons(ask):
    _, answer = ask({**body(), "time": "2026-12-31T22:00:00+01:00"})
    times = {one["horizon_h"]: one["target_time"] for one in answer["predictions"]}
    assert times == {
        4: "2027-01-01T01:00:00Z",
        12: "2027-01-01T09:00:00Z",
        24: "2027-01-01T21:00:00Z",
        48: "2027-01-02T21:00:00Z",
    }
    _, timeless = ask({"prices": body()["prices"]})
    assert {one["target_time"] for one in timeless["predictions"]} == {None}


def test_alerts_and_severities_follow_the_contracts_thresholds(handler, ask):
    alerts, severities = set(), set()
    for start in range(0, 400, 40):
        _, answer = ask({"prices": prices_of(6, 168, start)})
        for one in answer["predictions"]:
            bounds = handler.contract.thresholds
            assert one["alert"] == (one["probability"] >= bounds[one["label"]])
            second, third = (bounds[f"{one['alert_type']}.{name}"] for name in ("S2", "S3"))
            expected = "S3" if one["probability"] >= third else "S2" if one["probability"] >= second else None
            assert one["severity"] == expected
            alerts.add(one["alert"])
            severities.add(one["severity"])
    assert alerts == {True, False} and None in severities
    assert THRESHOLDS.items() <= dict(handler.contract.thresholds).items()


def test_what_is_computed_for_a_request_is_what_was_learned_from(handler):
    item = handler.decode(body())
    handler.prepare([item])
    window = np.stack([body()["prices"][name] for name in item.assets], axis=1)
    expected = features(window[None], np.array([[40, np.nan, np.nan, np.nan]]))[0]
    np.testing.assert_array_equal(item.row, expected)


def test_only_the_last_week_counts_and_the_order_of_assets_does_not(ask):
    _, week = ask({"prices": prices_of(6, 168, 132)})
    _, more = ask({"prices": prices_of(6, 300, 0)})
    assert more["predictions"] == week["predictions"]
    reverse = dict(reversed(list(prices_of(6, 168, 132).items())))
    assert ask({"prices": reverse})[1]["predictions"] == week["predictions"]


def test_a_burst_of_volatility_is_said_to_be_there_already(ask):
    prices = {name: list(series) for name, series in body()["prices"].items()}
    for k, series in enumerate(prices.values()):
        for hour in range(144, 168):
            series[hour] = series[143] * (1.1 if (hour + k // 3) % 2 else 0.9)
    burst = by_label(ask({"prices": prices})[1])["VOLATILITY_SPIKE_IMMINENT@4h"]
    calm = by_label(ask({"prices": {name: [5.0] * 150 + list(np.linspace(5, 5.1, 18)) for name in prices}})[1])
    assert burst["already"] and burst["reading"] > 1 and burst["severity_estimate"] >= 1
    assert not calm["CORRELATION_BREAKDOWN@4h"]["already"]


def test_an_alert_names_the_assets_it_is_about(ask):
    chance = np.random.default_rng(0)
    common = chance.normal(0, 0.01, 168)
    moves = {name: common + chance.normal(0, 0.002, 168) for name in ("BTC", "ETH", "UP", "DOWN")}
    moves["STRAY"] = chance.normal(0, 0.01, 168)
    moves["STRAY"][-24:] *= 6
    prices = {name: (50 * np.exp(np.cumsum(series))).tolist() for name, series in moves.items()}
    found = by_label(ask({"prices": prices})[1])
    assert found["CORRELATION_BREAKDOWN@24h"]["assets_affected"][0] == "STRAY"
    assert "STRAY" not in found["SPIKE_LIKELY@24h"]["assets_affected"]
    assert found["VOLATILITY_SPIKE_IMMINENT@4h"]["assets_affected"] == ["STRAY"]


def test_a_market_that_stands_still_is_answered(ask):
    status, answer = ask({"prices": {name: [7.0] * 168 for name in ("BTC", "ETH", "X")}})
    assert status == 200 and len(answer["predictions"]) == 16


def test_an_explanation_names_every_feature_and_the_weightiest_first(ask):
    status, answer = ask(body(), explain="True")
    explained = answer["explanations"]
    assert status == 200 and explained["method"].startswith("occlusion")
    assert set(explained["attributions"]) == set(NAMES) == set(explained["features"])
    weights = [abs(share) for share in explained["attributions"].values()]
    assert weights == sorted(weights, reverse=True) and weights[0] > 0
    assert explained["label"] == answer["predictions"][0]["label"]
    assert explained["attributions"] == explained["by_label"][explained["label"]]
    assert explained["regime"] in ("calm", "ordinary", "stressed", "dispersed")
    assert explained["features"]["sentiment"] is None


def test_a_request_takes_milliseconds_from_its_bytes_to_its_answer(handler, folder):
    whole = json.dumps({"prices": prices_of(12)}).encode()
    times = []
    for _ in range(30):
        context = Context(folder, [{"Content-Type": JSON}])
        start = time.perf_counter()
        handler.handle([{"body": whole}], context)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 0.02
