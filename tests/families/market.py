"""Good and bad requests of the market, and tiny ensembles to send them to."""

import copy
import functools
import json
from typing import Any

import numpy as np

from models.market.windows import bridged
from tests.bad_requests import Bad, sent
from training.data import splits
from training.family import Fits
from training.market.ensembles import AlertEnsembles
from training.market.fit import learn
from training.market.history import History
from training.market.metrics import EMBARGO, metrics
from training.market.recipe import MODEL, Trained
from training.market.release import release
from training.market.rows import tabulate
from training.market.synthetic import Synthesis, generate
from training.packaging.archive import Release

MODELS = (MODEL,)


STRIDE = 6
"""Hours from one row to the next."""


@functools.cache
def learned_from() -> History:
    """Return a hundred days of a made-up market."""
    return generate(Synthesis(hours=2400, assets=5))


@functools.cache
def releases() -> dict[str, Release]:
    """Return what tiny ensembles that learned from three months are released as."""
    history = learned_from()
    table = tabulate(history, STRIDE)
    folds = splits.by_time(table.times, 2, EMBARGO)
    learned = learn(history, table, AlertEnsembles(trees=8, rounds=8), folds)
    trained = Trained(
        learned,
        metrics=metrics(learned.scores),
        params={"trees": 8},
        data_manifest_sha256="0" * 64,
        mlflow_run_id="none",
        fits=Fits(evaluated="nothing", shipped="nothing"),
    )
    return {MODEL: release(trained, "1.0")}


@functools.cache
def _history() -> Any:
    return generate(Synthesis(hours=600, assets=12, seed=7))


def prices_of(assets: int, hours: int = 168, start: int = 0) -> dict[str, list[float | None]]:
    """Return a part of a made-up market as a request has it."""
    history = _history()
    closes = bridged(history.prices[None])[0, start : start + hours]
    return {name: closes[:, k].tolist() for k, name in enumerate(history.assets[:assets])}


def good(model: str) -> list[dict[str, Any]]:
    """Return request bodies that the model answers, all different."""
    with_gaps = prices_of(4, 170, 50)
    with_gaps["ALPHA"][100] = None
    for series in with_gaps.values():
        series[20] = None
    delisted = prices_of(5, 168, 300)
    delisted["BETA"][-1] = None
    return [
        {"prices": prices_of(3), "time": "2022-11-28T08:00:00Z"},
        {"prices": prices_of(12, 168, 200), "fear_greed": 20, "funding": 0.0001, "sentiment": -0.5, "confidence": 0.7},
        {"prices": with_gaps, "fear_greed": None, "time": "2022-11-28T08:00:00+02:00"},
        {"prices": prices_of(7, 300, 120)},
        {"prices": delisted, "time": "2022-11-28T08:00:00"},
    ]


def bad(model: str) -> dict[str, Bad]:
    """Return the bad requests that only this family can be sent, by name."""
    body: dict[str, Any] = {"prices": prices_of(3), "time": "2022-11-28T08:00:00Z"}

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
    chance = np.random.default_rng(0)
    traded = {name: np.exp(chance.normal(9, 0.5, 168)).tolist() for name in body["prices"]}
    digits = json.dumps(changed("DIGITS")).replace('"DIGITS"', "9" * 400)
    return {
        "no prices": sent({"time": "2022-11-28T08:00:00Z"}, field="prices"),
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
        "time in the future": sent({**body, "time": "2199-11-28T08:00:00Z"}, field="time"),
        "fear_greed negative": sent({**body, "fear_greed": -5}, field="fear_greed"),
        "confidence in per cent": sent({**body, "confidence": 70}, field="confidence"),
        "funding a hundred times too large": sent({**body, "funding": 0.01}, field="funding"),
        "funding by the year": sent({**body, "funding": -0.1095}, field="funding"),
        "include_ongoing a string": sent({**body, "include_ongoing": "yes"}, field="include_ongoing"),
        "every close the same": sent({"prices": {name: [7.0] * 168 for name in body["prices"]}}, field="prices.BTC"),
        "a feed that stopped": sent(
            {"prices": {name: series[:150] + series[149:150] * 18 for name, series in body["prices"].items()}},
            field="prices.BTC",
        ),
        "Ether frozen": sent(priced(ETH=body["prices"]["ETH"][:100] + [1200.5] * 68), field="prices.ETH"),
        "the third asset frozen": sent(priced(ALPHA=[3.5] * 168), field="prices.ALPHA"),
        "the third asset null": sent(priced(ALPHA=None), field="prices.ALPHA"),
        "the third asset listed lately": sent(priced(ALPHA=body["prices"]["ALPHA"][:60]), field="prices.ALPHA"),
        "the last day sent twice": sent(
            {"prices": {name: series[24:] + series[-24:] for name, series in body["prices"].items()}},
            field="prices.BTC",
        ),
        "hours given twice": sent(
            {
                "prices": {
                    name: [close for close in series[:84] for _ in "12"] for name, series in body["prices"].items()
                }
            },
            field="prices.BTC",
        ),
        "a day of nulls": sent(
            {
                "prices": {
                    name: [None if 60 <= k < 84 else close for k, close in enumerate(series)]
                    for name, series in body["prices"].items()
                }
            },
            field="prices.BTC",
        ),
        "a decimal point lost": sent(changed(body["prices"]["ETH"][7] * 10), field="prices.ETH[7]"),
        "another unit from some hour on": sent(
            priced(BTC=body["prices"]["BTC"][:80] + [close / 1000 for close in body["prices"]["BTC"][80:]]),
            field="prices.BTC[80]",
        ),
        "the last close in cents": sent(
            changed(body["prices"]["ALPHA"][-1] * 100, "ALPHA", 167), field="prices.ALPHA[167]"
        ),
        "one asset under two names": sent(
            {"prices": {**without("ALPHA")["prices"], "XBT": body["prices"]["BTC"]}}, field="prices.XBT"
        ),
        "one asset in two currencies": sent(
            priced(ALPHA=[0.92 * close for close in body["prices"]["ETH"]]), field="prices.ALPHA"
        ),
        "two assets alike for the last day": sent(
            priced(ALPHA=body["prices"]["ALPHA"][:143] + body["prices"]["ETH"][143:]), field="prices.ALPHA"
        ),
        "volumes in place of closes": sent({"prices": traded}, field="prices.BTC"),
        "one asset's volumes": sent(priced(ALPHA=traded["ALPHA"]), field="prices.ALPHA"),
        "a counter in place of closes": sent(priced(ALPHA=[100.0 + k for k in range(168)]), field="prices.ALPHA"),
        "returns in place of closes": sent(priced(ALPHA=[0.01, -0.02] * 84), field="prices.ALPHA[1]"),
        "a frozen feed in an instance": sent(
            {"instances": [body, {"prices": {name: [2.5] * 168 for name in body["prices"]}}]},
            field="instances[1].prices.BTC",
        ),
        "a bad instance": sent({"instances": [body, changed("x")]}, field="instances[1].prices.ETH[7]"),
    }
