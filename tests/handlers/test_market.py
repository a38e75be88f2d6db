import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archives.store import unpack
from handlers.decoding import JSON
from handlers.market import MarketHandler
from models.market.alerts import LABELS, THRESHOLDS
from models.market.features import NAMES, features
from tests.families.market import prices_of, releases
from tests.handlers.context import Context
from tests.timing import best_of
from training.packaging.archive import build


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
def ask(handler: MarketHandler, folder: Path) -> Callable[..., Any]:
    def asked(body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        context = Context(folder, [{"Content-Type": JSON, **headers}])
        [answer] = handler.handle([{"body": bytearray(json.dumps(body).encode())}], context)
        return context.statuses[0], json.loads(answer)

    return asked


@functools.cache
def body() -> dict[str, Any]:
    return {"prices": prices_of(6, 168, 100), "time": "2022-11-28T08:00:00Z", "fear_greed": 40}


def by_label(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["label"]: one for one in answer["predictions"]}


def test_all_sixteen_questions_are_answered_the_most_probable_first(ask: Callable[..., Any]) -> None:
    status, answer = ask(body())
    assert status == 200 and set(by_label(answer)) == set(LABELS) and len(answer["predictions"]) == 16
    probabilities = [one["probability"] for one in answer["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True) and 0 <= probabilities[-1] <= probabilities[0] <= 1
    for one in answer["predictions"]:
        assert one["label"] == f"{one['alert_type']}@{one['horizon_h']}h"
        assert 0 <= one["confidence"] <= 1
        assert set(one["assets_affected"]) <= set(body()["prices"])


def test_top_k_asks_for_fewer(ask: Callable[..., Any]) -> None:
    _, all_of_them = ask(body())
    _, three = ask({**body(), "top_k": 3})
    assert three["predictions"] == all_of_them["predictions"][:3]


def test_targets_are_as_far_ahead_as_their_horizons(ask: Callable[..., Any]) -> None:
    _, answer = ask({**body(), "time": "2022-12-31T22:00:00+01:00"})
    times = {one["horizon_h"]: one["target_time"] for one in answer["predictions"]}
    assert times == {
        4: "2023-01-01T01:00:00Z",
        12: "2023-01-01T09:00:00Z",
        24: "2023-01-01T21:00:00Z",
        48: "2023-01-02T21:00:00Z",
    }
    _, timeless = ask({"prices": body()["prices"]})
    assert {one["target_time"] for one in timeless["predictions"]} == {None}


def test_alerts_and_severities_follow_the_contracts_thresholds(handler: MarketHandler, ask: Callable[..., Any]) -> None:
    alerts, severities = set(), set()
    for start in range(0, 400, 40):
        _, answer = ask({"prices": prices_of(5, 168, start)})
        for one in answer["predictions"]:
            bounds = handler.contract.thresholds
            fresh = not one["already"]
            assert one["alert"] == (fresh and one["probability"] >= bounds[one["label"]])
            second, third = (bounds[f"{one['alert_type']}.{name}"] for name in ("S2", "S3"))
            expected = "S3" if one["probability"] >= third else "S2" if one["probability"] >= second else None
            assert one["severity"] == (expected if fresh else None)
            alerts.add(one["alert"])
            severities.add(one["severity"])
    assert alerts == {True, False} and None in severities
    assert THRESHOLDS.items() <= dict(handler.contract.thresholds).items()


def test_what_is_computed_for_a_request_is_what_was_learned_from(handler: MarketHandler) -> None:
    item = handler.decode(body())
    handler.prepare([item])
    window = np.stack([body()["prices"][name] for name in item.assets], axis=1)
    expected = features(window[None], np.array([[40, np.nan, np.nan, np.nan]]))[0]
    np.testing.assert_array_equal(item.row, expected)


def test_only_the_last_week_counts_and_the_order_of_assets_does_not(ask: Callable[..., Any]) -> None:
    _, week = ask({"prices": prices_of(6, 168, 132)})
    _, more = ask({"prices": prices_of(6, 300, 0)})
    assert more["predictions"] == week["predictions"]
    reverse = dict(reversed(list(prices_of(6, 168, 132).items())))
    assert ask({"prices": reverse})[1]["predictions"] == week["predictions"]


def burst() -> dict[str, Any]:
    """Return a market whose last day is ten times as wild as its week."""
    chance = np.random.default_rng(5)
    moves = 0.6 * chance.normal(0, 0.004, (168, 1)) + chance.normal(0, 0.003, (168, 4))
    moves[-24:] *= 10
    closes = 50 * np.exp(np.cumsum(moves, axis=0))
    return {name: closes[:, k].tolist() for k, name in enumerate(("BTC", "ETH", "ALPHA", "BETA"))}


def test_what_holds_already_is_apart_from_what_may_begin(ask: Callable[..., Any]) -> None:
    there = by_label(ask({"prices": burst()})[1])["VOLATILITY_SPIKE_IMMINENT@4h"]
    assert there["already"] and there["reading"] > 1 and there["severity_estimate"] >= 1
    ordinary = by_label(ask(body())[1])
    assert not ordinary["VOLATILITY_SPIKE_IMMINENT@4h"]["already"]
    assert not any(one["already"] for label, one in ordinary.items() if label.startswith("REGIME"))


def test_alerts_and_severities_are_of_what_may_begin_unless_ongoing_states_are_asked_for(
    handler: MarketHandler,
) -> None:
    item = handler.decode({"prices": burst()})
    handler.prepare([item])
    certain = {"probabilities": np.full((2, 16), 0.99, np.float32), "spread": np.zeros((2, 16), np.float32)}
    [usual, asked] = handler.phrase(
        certain, [item, *handler.switched([item], frozenset({"include_ongoing"}))], [16, 16]
    )
    assert {one["already"] for one in usual} == {True, False}
    assert all(one["alert"] != one["already"] for one in usual)
    assert all((one["severity"] is None) == one["already"] for one in usual)
    assert all(one["alert"] and one["severity"] == "S3" for one in asked)


def test_ongoing_states_are_asked_for_by_a_field(ask: Callable[..., Any]) -> None:
    plain, asked = (ask({"prices": burst(), "include_ongoing": on})[1]["predictions"] for on in (False, True))
    for one, other in zip(plain, asked, strict=True):
        if not one["already"]:
            assert one == other
    assert [one["probability"] for one in plain] == [one["probability"] for one in asked]


def test_a_longer_horizon_is_no_less_probable_where_events_are_nested(ask: Callable[..., Any]) -> None:
    for start in range(0, 400, 16):
        answers = by_label(ask({"prices": prices_of(5, 168, start)})[1])
        for alert in ("SPIKE_LIKELY", "CORRELATION_BREAKDOWN", "VOLATILITY_SPIKE_IMMINENT"):
            rising = [answers[f"{alert}@{horizon}h"]["probability"] for horizon in (4, 12, 24, 48)]
            assert rising == sorted(rising)


def with_series(**series: Any) -> dict[str, Any]:
    prices: dict[str, Any] = prices_of(5, 168, 100)
    for name, how in series.items():
        prices[name] = how(list(prices[name])) if callable(how) else how
    return {"prices": prices}


@pytest.mark.parametrize(
    "gone",
    [
        lambda series: [*series[:-1], None],
        lambda series: [*series[:-5], *[None] * 5],
        lambda series: [*series[:20], *[None] * 13, *series[33:]],
        lambda series: [None] * 168,
        lambda series: series[:90],
        lambda series: series[:140] + [series[139]] * 28,
        lambda series: [series[0]] * 168,
        lambda series: [],
        None,
    ],
    ids=["delisted", "delisted for hours", "a gap", "nulls", "listed lately", "frozen", "never moves", "empty", "null"],
)
def test_an_asset_with_missing_closes_is_left_out_and_said_while_enough_others_are_there(
    ask: Callable[..., Any], gone: Any
) -> None:
    status, answer = ask(with_series(BETA=gone))
    without = {name: series for name, series in prices_of(5, 168, 100).items() if name != "BETA"}
    assert status == 200
    assert answer["predictions"] == ask({"prices": without})[1]["predictions"]
    [warning] = [one for one in answer["warnings"] if one["message"].startswith("left out")]
    assert warning["field"] == "prices.BETA"
    assert any(one["message"].startswith("the answer is about") for one in answer["warnings"])
    refused, error = ask(with_series(BETA=gone, GAMMA=gone, ALPHA=gone))
    assert refused == 422 and "3 assets, BTC and ETH among them" in error["error"]["expected"]
    assert ask(with_series(ETH=gone))[0] == 422


def test_an_asset_that_was_not_learned_from_is_left_out_or_where_it_is_needed_used_and_said(
    ask: Callable[..., Any],
) -> None:
    names = {name: series for name, series in prices_of(6, 168, 100).items()}
    strange = {**{name: names[name] for name in ("BTC", "ETH", "ALPHA")}, "NEWCOIN": names["BETA"]}
    _, answer = ask({"prices": strange})
    known = {name: names[name] for name in ("BTC", "ETH", "ALPHA")}
    assert answer["predictions"] == ask({"prices": known})[1]["predictions"]
    assert answer["warnings"][0]["field"] == "prices" and "left out: NEWCOIN" in answer["warnings"][0]["message"]
    status, used = ask({"prices": {name: strange[name] for name in ("BTC", "ETH", "NEWCOIN")}})
    assert status == 200 and "used, because too few others are there: NEWCOIN" in used["warnings"][0]["message"]


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({**body(), "fear_greed": 0.4}, "fear_greed", "got 0.4 (the index"),
        ({**body(), "funding": 0.005}, "funding", "0.01 % is 0.0001"),
        (
            with_series(ALPHA=lambda series: series[:100] + [series[99]] * 9 + series[109:]),
            "prices.ALPHA",
            "at one close",
        ),
        (with_series(ALPHA=lambda series: [*series[:-1], series[-1] * 2]), "prices.ALPHA[167]", "the unit another?"),
        (
            with_series(ALPHA=lambda series: [(close / series[0]) ** 0.1 for close in series]),
            "prices.ALPHA",
            "the median move",
        ),
    ],
)
def test_what_is_possible_and_unusual_is_answered_with_a_warning(
    ask: Callable[..., Any], body: dict[str, Any], field: str, said: str
) -> None:
    status, answer = ask(body)
    assert status == 200
    assert any(one["field"] == field and said in one["message"] for one in answer["warnings"]), answer["warnings"]
    _, many = ask({"instances": [{"prices": prices_of(3)}, body]})
    assert [one for one in many["warnings"] if one["field"] == f"instances[1].{field}"]


def test_a_usual_market_has_no_warnings(ask: Callable[..., Any]) -> None:
    status, answer = ask(dict(releases()["market_alerts"].example))
    assert status == 200 and "warnings" not in answer


def test_an_archive_without_ranges_is_served_and_still_needs_its_last_closes(folder: Path, tmp_path: Path) -> None:
    old = MarketHandler()
    old.initialize(Context(folder))
    old.contract = replace(old.contract, possible={}, usual={})
    family = json.loads((folder / "family.json").read_text())
    (tmp_path / "family.json").write_text(json.dumps({"peaks": family["peaks"]}))
    (tmp_path / "reference.npz").write_bytes((folder / "reference.npz").read_bytes())
    old.opened(tmp_path)

    def ask(body: dict[str, Any]) -> tuple[int, Any]:
        context = Context(folder, [{"Content-Type": JSON}])
        [answer] = old.handle([{"body": bytearray(json.dumps(body).encode())}], context)
        return context.statuses[0], json.loads(answer)

    status, answer = ask({"prices": {name: [7.0] * 168 for name in ("BTC", "ETH", "X")}, "funding": 0.05})
    assert status == 200 and "warnings" not in answer
    assert ask(with_series(ETH=lambda series: [*series[:-1], None]))[0] == 422


def test_an_alert_names_the_assets_it_is_about(ask: Callable[..., Any]) -> None:
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


def test_an_explanation_names_every_feature_and_the_weightiest_first(ask: Callable[..., Any]) -> None:
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


def test_a_request_takes_milliseconds_from_its_bytes_to_its_answer(handler: MarketHandler, folder: Path) -> None:
    whole = json.dumps({"prices": prices_of(12)}).encode()

    def answer() -> None:
        handler.handle([{"body": whole}], Context(folder, [{"Content-Type": JSON}]))

    assert best_of(30, answer) < 0.02
