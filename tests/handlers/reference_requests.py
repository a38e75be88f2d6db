"""The rows of each model's `reference.npz` as the requests that they would have come in."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from models.budget.forecast_features import YEAR
from models.code_health.features import READS
from models.market.windows import LOOKBACK_H
from tests.families import budget, catalog, code_health, market, signflow
from training.budget.anomaly.rows import table
from training.budget.forecast.fit import DAYS
from training.budget.forecast.recipe import TESTED, household_series
from training.budget.synthetic.accounts import generate
from training.data import splits
from training.market.rows import tabulate

MOST = 64
"""Rows of each model that are sent; more say nothing new."""

Requests = dict[int, dict[str, Any]]
"""By the row of `reference.npz`."""


def reference_requests(model: str) -> Requests:
    """Return the requests of at most `MOST` reference rows."""
    return dict(itertools.islice(REBUILT[model](model).items(), MOST))


def _code_health(model: str) -> Requests:
    rows = code_health.tiny()[model].reference.tolist()
    return {at: {"features": dict(zip(READS[model], map(_sent, row), strict=True))} for at, row in enumerate(rows)}


def _signflow(model: str) -> Requests:
    sequences = signflow.made_up().reference
    return {
        at: {"frames": [[*map(_sent, frame)] for frame in one.astype(float).tolist()]}
        for at, one in enumerate(sequences)
    }


def _catalog(model: str) -> Requests:
    products = catalog.tiny().products
    return {
        at: {"designation": one.designation, "description": one.description or ""} for at, one in enumerate(products)
    }


def _market(model: str) -> Requests:
    """Find the hours of the reference rows by their features."""
    history = market.learned_from()
    rows = tabulate(history, market.STRIDE)
    hours = {row.tobytes(): at for row, at in zip(rows.features, history.hours(market.STRIDE).tolist(), strict=True)}
    found = {}
    for number, row in enumerate(market.releases()[model].reference["features"]):
        last = hours[row.tobytes()] + 1
        closes = history.prices[last - LOOKBACK_H : last].T.tolist()
        given = dict(zip(("fear_greed", "funding", "sentiment", "confidence"), history.context[last - 1], strict=True))
        found[number] = {
            "prices": {name: [*map(_sent, series)] for name, series in zip(history.assets, closes, strict=True)},
            **{name: _sent(float(value)) for name, value in given.items()},
        }
    return found


def _categorizer(model: str) -> Requests:
    frame = budget.trained()[model].unseen_frame
    count = len(budget.releases()[model].reference["amount"])
    rows = zip(frame["label"], frame["amount"], frame["date"], strict=True)
    return {
        at: {"label": label, "amount": float(amount), "date": str(date)[:10]}
        for at, (label, amount, date) in enumerate(itertools.islice(rows, count))
    }


def _anomaly(model: str) -> Requests:
    """Send each transaction with all that training compared it with; those alone that come last on their day.

    What is sent to be judged is taken for later than a history's transactions of the same day.
    """
    frame = generate(budget.ACCOUNTS)
    users, days = frame["user"].to_numpy(), frame["date"].to_numpy().astype("datetime64[D]")
    starts = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]]))
    ends = [*starts[1:].tolist(), len(frame)]
    start, end = (np.repeat(edges, np.diff([*starts, len(frame)])) for edges in (starts, ends))
    sent = [
        {"label": label, "amount": float(amount), "date": str(date)[:10]}
        for label, amount, date in zip(frame["label"], frame["amount"], frame["date"], strict=True)
    ]
    test = splits.holdout(table(frame).users, 0.25)[1]
    few = np.random.default_rng(0).permutation(len(test))[:512]
    found = {}
    for number, at in enumerate(test[few].tolist()):
        judged_last = min(start[at] + (at - start[at]) // 60 * 60 + 59, end[at] - 1)
        last = start[at] + int(np.searchsorted(days[start[at] : end[at]], days[judged_last], side="right"))
        if at + 1 == end[at] or days[at + 1] != days[at]:
            history = [*sent[start[at] : at], *sent[at + 1 : last]]
            found[number] = {"transactions": [sent[at]], "history": history}
    return found


def _forecast(model: str) -> Requests:
    """Send the months of households that were tested on, with and without how far earlier months had come."""
    months = budget.HOUSEHOLDS.months
    series = household_series(generate(budget.HOUSEHOLDS), months)
    unseen = series.select(splits.holdout(series.owners, 0.3)[1])
    found = {}
    asked = itertools.product((False, True), np.unique(unseen.owners), range(months - TESTED, months), DAYS)
    for number, (blind, owner, month, day) in enumerate(asked):
        year = slice(month - YEAR, month)
        mine = np.flatnonzero((unseen.owners == owner) & (unseen.totals[:, year] != 0).any(axis=1)).tolist()
        found[number] = {
            "month": str(unseen.first + month),
            "day": day,
            "categories": [
                {
                    "name": str(unseen.categories[at]),
                    "months": unseen.totals[at, max(0, month - 24) : month].tolist(),
                    "spent": float(unseen.spent[at, month, day]),
                    "by_now": None if blind else unseen.spent[at, year, day].tolist(),
                }
                for at in mine
            ],
        }
    return found


REBUILT: dict[str, Callable[[str], Requests]] = {
    "budget_anomaly": _anomaly,
    "budget_categorizer": _categorizer,
    "budget_forecast": _forecast,
    "catalog": _catalog,
    "market_alerts": _market,
    "signflow": _signflow,
    **dict.fromkeys(code_health.MODELS, _code_health),
}
"""Whose reference rows can be had as requests."""


def _sent(value: float) -> float | None:
    return None if np.isnan(value) else value
