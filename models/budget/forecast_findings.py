"""What a forecast means for a household, as facts with their evidence: overspending, trends, dearer subscriptions.

No prose: each finding is a mapping with its ``kind``, the ``category``, and the numbers that it rests on. Whoever shows
it writes the sentence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.budget.forecast_features import YEAR

Floats = NDArray[np.float64]
Finding = dict[str, Any]

LIKELY: Final = 0.5
"""Probability of exceeding a budget from which that is a finding."""

UNUSUAL: Final = 1.2
"""Without a budget: how many usual months a month has to exceed, at a probability of `SURE`."""
SURE: Final = 0.8

SIGNIFICANT: Final = 0.05
MATERIAL: Final = 0.1
"""Change per year, as a share of the last twelve months, from which a significant trend is a finding."""

_Z90 = 1.2815515655446004  # the 90th percentile of a normal distribution


def probability_above(quantiles: Floats, limit: float) -> float:
    """Return how likely a month exceeds a limit, by its 10th, 50th and 90th percentile [3]; a normal on each side."""
    low, middle, high = quantiles.tolist()
    half = (high - middle) if limit > middle else (middle - low)
    return 0.5 * math.erfc((limit - middle) / max(half / _Z90, 0.005) / math.sqrt(2))


def overspending(name: str, quantiles: Floats, spent: float, months: Floats, budget: float | None) -> Finding | None:
    """Return what speaks for a category ending above its budget, or above what is usual where it has none.

    Parameters
    ----------
    name
        Of the category.
    quantiles
        float64 [3], 10th, 50th and 90th percentile of the month in euros.
    spent
        Euros so far.
    months
        float64 [M], totals of the months before; at least twelve.
    budget
        In euros; None if there is none.
    """
    usual = float(months[-YEAR:].mean())
    limit = budget if budget is not None else UNUSUAL * usual
    likely = probability_above(quantiles, limit)
    if likely < (LIKELY if budget is not None else SURE) or (budget is None and usual <= 0):
        return None
    return {
        "kind": "overspend",
        "category": name,
        "against": "budget" if budget is not None else "usual",
        "limit_eur": round(limit, 2),
        "forecast_eur": round(float(quantiles[1]), 2),
        "over_eur": round(float(quantiles[1]) - limit, 2),
        "spent_eur": round(spent, 2),
        "usual_eur": round(usual, 2),
        "probability": round(likely, 3),
    }


def trend(name: str, months: Floats) -> Finding | None:
    """Return a category's change from year to year where it is significant and material.

    Only like months are compared, so that a season is no trend: the seasonal Kendall test, and the median of the
    changes over a year as the slope (Hirsch, Slack & Smith, 1982). Needs more than 18 months to find anything.
    """
    changes, score, variance = [], 0.0, 0.0
    for of_year in range(YEAR):
        values = months[::-1][of_year::YEAR][::-1]  # the same month of each year, oldest first
        count = len(values)
        if count < 2:
            continue
        first, second = np.triu_indices(count, 1)
        differences = values[second] - values[first]
        changes.append(differences / (second - first))
        score += float(np.sign(differences).sum())
        variance += count * (count - 1) * (2 * count + 5) / 18
    if not changes:
        return None
    p_value = math.erfc(max(abs(score) - 1.0, 0.0) / math.sqrt(2 * variance))
    slope = float(np.median(np.concatenate(changes)))
    last = float(months[-YEAR:].sum())
    monthly = last / YEAR
    if p_value >= SIGNIFICANT or abs(slope) < MATERIAL * abs(monthly) or slope == 0:
        return None
    found = {
        "kind": "trend",
        "category": name,
        "direction": "up" if slope > 0 else "down",
        "change_per_year_eur": round(slope, 2),
        "p_value": round(p_value, 4),
        "last_12_months_eur": round(last, 2),
        "months": len(months),
    }
    if len(months) >= 2 * YEAR:
        found["previous_12_months_eur"] = round(float(months[-2 * YEAR : -YEAR].sum()), 2)
    return found


def subscriptions(
    categories: Sequence[str], keys: Sequence[str], labels: Sequence[str], days: NDArray[np.int64], amounts: Floats
) -> list[Finding]:
    """Return subscriptions that have become dearer, and new ones.

    A subscription is one payee and category, charged at least three times, about once a month and at about the same
    price each time.

    Parameters
    ----------
    categories, keys, labels
        Of each transaction, length N; keys by `models.budget.anomaly_ledger.merchant_keys`.
    days
        int64 [N], since 1970-01-01.
    amounts
        float64 [N] in euros, negative is spent.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for at in np.argsort(days, kind="stable").tolist():
        if amounts[at] < 0 and keys[at]:
            groups.setdefault((categories[at], keys[at]), []).append(at)
    found = []
    for (category, _), rows in groups.items():
        price, when = -amounts[rows], days[rows]
        if len(rows) < 3 or not _monthly(when, price):
            continue
        before, now = float(np.median(price[: max(1, len(price) // 3)])), float(price[-1])
        same = {"category": category, "label": labels[rows[-1]], "charges": len(rows)}
        if now - before > max(0.5, 0.03 * before):
            dearer = int(np.flatnonzero(price > before + 0.5 * (now - before))[0])
            found.append(
                {"kind": "subscription_growth", **same, "from_eur": round(before, 2), "to_eur": round(now, 2)}
                | {"since": _date(when[dearer]), "extra_eur_per_year": round(12 * (now - before), 2)}
            )
        elif when[0] - days.min() > 62 and days.max() - when[0] <= 125:
            found.append({"kind": "new_subscription", **same, "since": _date(when[0]), "eur_per_month": round(now, 2)})
    return found


def _monthly(when: NDArray[np.int64], price: Floats) -> bool:
    gaps = np.diff(when)
    regular = ((gaps >= 24) & (gaps <= 38)).mean() >= 0.75
    return bool(regular and np.median(np.abs(np.diff(np.log(np.maximum(price, 0.01))))) < 0.1)


def _date(day: Any) -> str:
    return str(np.datetime64(int(day), "D"))
