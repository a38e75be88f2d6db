"""What a forecast means for a household, as facts with their evidence: overspending, trends, dearer subscriptions.

No prose: each finding is a mapping with its ``kind``, the ``category``, and the numbers that it rests on. A client that
shows it writes the sentence.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.budget.forecast_features import YEAR
from models.budget.robust import median

Floats = NDArray[np.float64]
Finding = dict[str, Any]

UNUSUAL: Final = 1.2
"""Without a budget: how many usual months a month has to exceed, four times in five."""

MATERIAL: Final = 0.1
"""Change of a month from year to year, as a share of a usual one, from which a significant trend is a finding."""

_Z90: Final = 1.2815515655446004  # the 90th percentile of a normal distribution
_Z80: Final = 0.8416212335729143  # its 80th: what is this far above a limit exceeds it four times in five
_SIGNIFICANT: Final = 1.959963984540054  # standard deviations that chance exceeds once in twenty


def probability_above(quantiles: Floats, limit: float) -> float:
    """Return how likely a month exceeds a limit, by its 10th, 50th and 90th percentile [3]; a normal on each side."""
    low, middle, high = quantiles.tolist()
    half = (high - middle) if limit > middle else (middle - low)
    return 0.5 * math.erfc((limit - middle) / max(half / _Z90, 0.005) / math.sqrt(2))


def overspending(
    names: Sequence[str], quantiles: Floats, spent: Floats, usual: Floats, budgets: Floats
) -> list[tuple[int, Finding]]:
    """Return which categories will end above their budget, or above what is usual where they have none.

    Parameters
    ----------
    names
        Of the categories, length N.
    quantiles
        float64 [N, 3], 10th, 50th and 90th percentile of the month in euros.
    spent
        float64 [N], euros so far.
    usual
        float64 [N], mean of the last twelve months.
    budgets
        float64 [N], in euros; NaN where there is none.

    Returns
    -------
    list of (int, dict)
        Position of the category, and what speaks for it.
    """
    budgeted = ~np.isnan(budgets)
    limits = np.where(budgeted, budgets, UNUSUAL * usual)
    middle = quantiles[:, 1]
    # at even odds the median is at the limit; at four to one, that much of the lower half above it
    reach = np.where(budgeted, middle, middle - (middle - quantiles[:, 0]) * _Z80 / _Z90)
    return [
        (
            at,
            {
                "kind": "overspend",
                "category": names[at],
                "against": "budget" if budgeted[at] else "usual",
                "limit_eur": round(float(limits[at]), 2),
                "forecast_eur": round(float(middle[at]), 2),
                "over_eur": round(float(middle[at] - limits[at]), 2),
                "spent_eur": round(float(spent[at]), 2),
                "usual_eur": round(float(usual[at]), 2),
                "probability": round(probability_above(quantiles[at], float(limits[at])), 3),
            },
        )
        for at in np.flatnonzero((reach >= limits) & (middle > 0) & (budgeted | (usual > 0))).tolist()
    ]


def trends(names: Sequence[str], months: Floats) -> list[tuple[int, Finding]]:
    """Return which categories change from year to year, where that is significant and material.

    Only like months are compared, so that a season is no trend: the seasonal Kendall test, and the median of the
    changes over a year as the slope (Hirsch, Slack & Smith, 1982). Needs more than 18 months to find anything.

    Parameters
    ----------
    names
        Of the categories, length N.
    months
        float64 [N, M], totals, oldest first, M a multiple of twelve; NaN before a category begins.

    Returns
    -------
    list of (int, dict)
        Position of the category, and its trend.
    """
    begun = (~np.isnan(months[:, YEAR - 1 :: YEAR])).any(axis=0)  # from a year's last month on nothing is missing
    months = months[:, YEAR * int(begun.argmax()) :]
    years = months.reshape(len(months), -1, YEAR)  # (N, Y, 12): like months are in one column
    pairs = list(itertools.combinations(range(years.shape[1]), 2))
    if not pairs:
        return []
    first, second = np.array(pairs).T
    changes = (years[:, second] - years[:, first]).reshape(len(months), -1)  # (N, pairs x 12)
    score = (changes > 0).sum(axis=1) - (changes < 0).sum(axis=1)
    count = (~np.isnan(years)).sum(axis=1)
    variance = (count * (count - 1) * (2 * count + 5) / 18).sum(axis=1)
    deviations = np.maximum(np.abs(score) - 1, 0) / np.sqrt(np.maximum(variance, 1e-9))
    significant = np.flatnonzero(deviations > _SIGNIFICANT)
    if not len(significant):
        return []
    slopes = median(changes[significant] / (second - first).repeat(YEAR))
    sums = years[significant, -2:].sum(axis=2)
    found = []
    for at, slope, (before, last) in zip(significant.tolist(), slopes.tolist(), sums.tolist(), strict=True):
        if not slope or abs(slope) < MATERIAL * abs(last) / YEAR:
            continue
        finding = {
            "kind": "trend",
            "category": names[at],
            "direction": "up" if slope > 0 else "down",
            "change_per_year_eur": round(slope, 2),
            "p_value": round(math.erfc(float(deviations[at]) / math.sqrt(2)), 4),
            "last_12_months_eur": round(last, 2),
            "months": int(count[at].sum()),
        }
        if not math.isnan(before):
            finding["previous_12_months_eur"] = round(before, 2)
        found.append((at, finding))
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
        Of each transaction, length N; keys by `models.budget.anomaly_history.merchant_keys`.
    days
        int64 [N], since 1970-01-01.
    amounts
        float64 [N] in euros, negative is spent.
    """
    day, paid = days.tolist(), (-amounts).tolist()  # a few charges each: lists are faster than arrays
    groups = defaultdict(list)
    for at in sorted(range(len(day)), key=day.__getitem__):
        if paid[at] > 0 and keys[at]:
            groups[categories[at], keys[at]].append(at)
    found = []
    for (category, _), rows in groups.items():
        if len(rows) < 3:
            continue
        price, when = [paid[at] for at in rows], [day[at] for at in rows]
        if not _monthly(when, price):
            continue
        before, now = statistics.median(price[: max(1, len(price) // 3)]), price[-1]
        same = {"category": category, "label": labels[rows[-1]], "charges": len(rows)}
        if now - before > max(0.5, 0.03 * before):
            dearer = next(at for at, one in enumerate(price) if one > before + 0.5 * (now - before))
            found.append(
                {"kind": "subscription_growth", **same, "from_eur": round(before, 2), "to_eur": round(now, 2)}
                | {"since": _date(when[dearer]), "extra_eur_per_year": round(12 * (now - before), 2)}
            )
        elif when[0] - min(day) > 62 and max(day) - when[0] <= 125:
            found.append({"kind": "new_subscription", **same, "since": _date(when[0]), "eur_per_month": round(now, 2)})
    return found


def _monthly(when: Sequence[int], price: Sequence[float]) -> bool:
    gaps = [later - earlier for earlier, later in itertools.pairwise(when)]
    if len([gap for gap in gaps if 24 <= gap <= 38]) < 0.75 * len(gaps):
        return False
    sizes = [math.log(max(one, 0.01)) for one in price]
    return statistics.median([abs(later - earlier) for earlier, later in itertools.pairwise(sizes)]) < 0.1


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))
