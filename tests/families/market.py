"""Good and bad requests of the market, and tiny ensembles to send them to."""

import copy
import functools
import json
from typing import Any

import numpy as np

from tests.requests import Bad, sent
from training.archive import Release
from training.data import splits
from training.data.market_synthetic import Synthesis, generate
from training.market import MODEL, Trained
from training.market_fit import AlertEnsembles
from training.market_learn import learn
from training.market_release import release
from training.market_scores import EMBARGO
from training.market_table import tabulate

MODELS = (MODEL,)


@functools.cache
def releases() -> dict[str, Release]:
    """Return what tiny ensembles that learned from three months are released as."""
    history = generate(Synthesis(hours=2400, assets=5))
    table = tabulate(history, 6)
    folds = splits.by_time(table.times, 2, EMBARGO)
    learned = learn(history, table, AlertEnsembles(trees=8, rounds=8), folds)
    return {MODEL: release(Trained(learned, {"trees": 8}, "0" * 64, "none"), "1.0")}


@functools.cache
def _history() -> Any:
    return generate(Synthesis(hours=600, assets=12, seed=7))


def prices_of(assets: int, hours: int = 168, start: int = 0) -> dict[str, list[float | None]]:
    """Return a part of a made-up market as a request has it."""
    history = _history()
    closes = np.nan_to_num(history.prices[start : start + hours], nan=1.0)
    return {name: closes[:, k].tolist() for k, name in enumerate(history.assets[:assets])}


def good(model: str) -> list[dict[str, Any]]:
    """Return request bodies that the model answers, all different."""
    with_gaps = prices_of(4, 170, 50)
    with_gaps["ALPHA"][100] = None
    for series in with_gaps.values():
        series[20] = None
    return [
        {"prices": prices_of(3), "time": "2026-11-21T14:00:00Z"},
        {"prices": prices_of(12, 168, 200), "fear_greed": 20, "funding": 0.0001, "sentiment": -0.5, "confidence": 0.7},
        {"prices": with_gaps, "fear_greed": None, "time": "2026-11-21T14:00:00+02:00"},
        {"prices": prices_of(7, 300, 120)},
    ]


def bad(model: str) -> dict[str, Bad]:
    """Return the bad requests that only this family can be sent, by name."""
    body = {"prices": prices_of(3), "time": "2026-11-21T14:00:00Z"}

    def changed(value: object, asset: str = "ETH", hour: int = 7) -> dict[str, Any]:
        copied = copy.deepcopy(body)
        copied["prices"][asset][hour] = value
        return copied

    def priced(**series: object) -> dict[str, Any]:
        return {**body, "prices": {**body["prices"], **series}}

    def without(name: str) -> dict[str, Any]:
        return {"prices": {key: series for key, series in body["prices"].items() if key != name}}

    holes = copy.deepcopy(body)
    holes["prices"]["ALPHA"][40:53] = [None] * 13
    short = {name: series[:167] for name, series in body["prices"].items()}
    long = {name: [1.0] * 2049 for name in body["prices"]}
    many = {**body["prices"], **{f"A{k}": body["prices"]["ETH"] for k in range(30)}}
    digits = json.dumps(changed("DIGITS")).replace('"DIGITS"', "9" * 400)
    return {
        "no prices": sent({"time": "2026-11-21T14:00:00Z"}, field="prices"),
        "a misspelt field": sent({"price": body["prices"]}, field="price"),
        "prices null": sent({"prices": None}, field="prices"),
        "prices a list": sent({"prices": list(body["prices"].values())}, field="prices"),
        "prices empty": sent({"prices": {}}, field="prices.BTC"),
        "no Bitcoin": sent(without("BTC"), field="prices.BTC"),
        "no Ether": sent(without("ETH"), field="prices.ETH"),
        "Bitcoin in small letters": sent(
            {"prices": {**without("BTC")["prices"], "btc": [1.0] * 168}}, field="prices.BTC"
        ),
        "two assets": sent(without("ALPHA"), field="prices"),
        "33 assets": sent({"prices": many}, field="prices"),
        "an asset without a name": sent(priced(**{"": [1.0] * 168}), field="prices."),
        "an asset with a long name": sent(priced(**{"A" * 500: [1.0] * 168}), field="prices.AAAA"),
        "closes null": sent(priced(ETH=None), field="prices.ETH"),
        "closes a number": sent(priced(BTC=3), field="prices.BTC"),
        "closes an object": sent(priced(ETH={"0": 1}), field="prices.ETH"),
        "closes empty": sent(priced(ETH=[]), field="prices.ETH"),
        "167 closes": sent({"prices": short}, field="prices.BTC"),
        "2049 closes": sent({"prices": long}, field="prices.BTC"),
        "one asset with an hour more": sent(priced(ETH=[1.0] * 169), field="prices.ETH"),
        "closes nested": sent(priced(ETH=[[1.0]] * 168), field="prices.ETH[0]"),
        "a string among closes": sent(changed("1.5"), field="prices.ETH[7]"),
        "true among closes": sent(changed(True), field="prices.ETH[7]"),
        "an object among closes": sent(changed({}, "BTC", 167), field="prices.BTC[167]"),
        "a price of zero": sent(changed(0), field="prices.ETH[7]"),
        "a negative price": sent(changed(-1.5, "ALPHA", 0), field="prices.ALPHA[0]"),
        "a price of 1e300": sent(changed(1e300), field="prices.ETH[7]"),
        "a price of 400 digits": Bad(digits.encode(), 400),
        "the last close missing": sent(changed(None, "ALPHA", 167), field="prices.ALPHA[167]"),
        "13 closes missing": sent(holes, field="prices.ALPHA"),
        "all closes missing": sent(priced(ETH=[None] * 168), field="prices.ETH"),
        "fear_greed 101": sent({**body, "fear_greed": 101}, field="fear_greed"),
        "fear_greed a string": sent({**body, "fear_greed": "fear"}, field="fear_greed"),
        "funding in per cent": sent({**body, "funding": 1.0}, field="funding"),
        "funding by asset": sent({**body, "funding": {"BTC": 0.0001}}, field="funding"),
        "sentiment 2": sent({**body, "sentiment": 2}, field="sentiment"),
        "confidence true": sent({**body, "confidence": True}, field="confidence"),
        "confidence -0.1": sent({**body, "confidence": -0.1}, field="confidence"),
        "time a number": sent({**body, "time": 1763733600}, field="time"),
        "time a day": sent({**body, "time": "2026-11-21"}, field="time"),
        "time in words": sent({**body, "time": "tomorrow afternoon"}, field="time"),
        "time in the 25th hour": sent({**body, "time": "2026-11-21T25:00:00Z"}, field="time"),
        "time in the year 1": sent({**body, "time": "0001-01-01T00:00:00+14:00"}, field="time"),
        "a bad instance": sent({"instances": [body, changed("x")]}, field="instances[1].prices.ETH[7]"),
    }
