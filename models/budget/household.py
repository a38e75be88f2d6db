"""What a household's transactions say about it: the profile that is kept per household.

Nothing later than the moment of a profile is looked at, and only whole months count as months: the one under way is
left out. What cannot be said of so few months is NaN.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.budget.robust import Floats, mean, median

MONTHS: Final = 12
"""Whole months that are looked at, at the most."""

DEFINITIONS: Final = {
    "history_days": "days since the first transaction",
    "months": "whole months looked at, at most twelve",
    "transactions_monthly": "transactions of a month, mean",
    "spent_monthly": "what is spent in a month, median, euros",
    "spent_last_month": "what was spent in the last whole month, euros",
    "spent_spread": "median absolute difference of a month's spending from their median, as a share of it",
    "spent_trend": "spending of the last three months over that of those before, natural logarithm",
    "income_monthly": "what comes in in a month, median, euros",
    "saved_share": "share of what came in that was not spent; negative where more was spent",
    "payment_median": "size of a payment, median, euros",
    "payment_high": "size that 95 % of the payments are below, euros",
    "merchants": "different merchants paid",
    "merchant_share": "share of the spending that went to the merchant that got most",
    "weekend_share": "share of the payments made on Saturdays and Sundays",
}
"""What each feature is. Spending and payments are what goes out; amounts are counted as positive."""

NAMES: Final = tuple(DEFINITIONS)


def profile(days: NDArray[np.int64], amounts: Floats, merchants: NDArray[Any], today: int) -> NDArray[np.float32]:
    """Describe one household at the end of a day.

    Parameters
    ----------
    days
        int64 [N], days since 1970-01-01, in any order.
    amounts
        float64 [N] in euros, negative is spent.
    merchants
        [N], who was paid, as numbers or texts of which equal ones are the same.
    today
        The day, as `days` counts them; later rows are left out.

    Returns
    -------
    ndarray
        float32 [14], in the order of `NAMES`.
    """
    known = days <= today
    days, amounts, merchants = days[known], amounts[known], merchants[known]
    answer = dict.fromkeys(NAMES, np.nan)
    if not len(days):
        return np.array(list(answer.values()), np.float32)
    answer["history_days"] = float(today - days.min())
    month = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    under_way = int(np.int64(today).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64))
    first = max(int(month.min()), under_way - MONTHS)
    months = under_way - first
    answer["months"] = float(months)
    if months > 0:
        inside = (month >= first) & (month < under_way)
        _monthly(answer, month[inside] - first, amounts[inside], months)
        _payments(answer, days[inside], amounts[inside], merchants[inside])
    return np.array(list(answer.values()), np.float32)


def _monthly(answer: dict[str, float], month: NDArray[np.int64], amounts: Floats, months: int) -> None:
    spent = np.bincount(month, np.maximum(-amounts, 0.0), months).astype(np.float64)
    earned = np.bincount(month, np.maximum(amounts, 0.0), months).astype(np.float64)
    usual = float(median(spent[None])[0])
    answer["transactions_monthly"] = len(month) / months
    answer["spent_monthly"], answer["spent_last_month"] = usual, float(spent[-1])
    answer["income_monthly"] = float(median(earned[None])[0])
    if usual > 0:
        answer["spent_spread"] = float(median(np.abs(spent - usual)[None])[0]) / usual
    if months > 3:
        lately, before = float(mean(spent[None, -3:])[0]), float(mean(spent[None, :-3])[0])
        if lately > 0 and before > 0:
            answer["spent_trend"] = float(np.log(lately / before))
    if earned.sum() > 0:
        answer["saved_share"] = float(1 - spent.sum() / earned.sum())


def _payments(answer: dict[str, float], days: NDArray[np.int64], amounts: Floats, merchants: NDArray[Any]) -> None:
    out = amounts < 0
    if not out.any():
        return
    sizes = -amounts[out]
    answer["payment_median"], answer["payment_high"] = (float(value) for value in np.quantile(sizes, (0.5, 0.95)))
    different, which = np.unique(merchants[out], return_inverse=True)
    answer["merchants"] = float(len(different))
    answer["merchant_share"] = float(np.bincount(which, sizes).max() / sizes.sum())
    answer["weekend_share"] = float(((days[out] + 3) % 7 >= 5).mean())  # 1970-01-01 was a Thursday
