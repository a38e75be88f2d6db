"""What is odd about transactions and is answered anyway, with a warning: amounts, signs, days."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from archives.contract import Range
from handlers.validation import Unusual
from models.budget.plausibility import look_like_cents, look_unsigned

Found = list[list[Unusual]]


MOST_NAMED = 5
"""Transactions of one request that a warning of one kind is given for one by one; of more, the first stands for all."""


def unusual_transactions(
    usual: Mapping[str, Range], amounts: NDArray[np.float64], days: NDArray[np.int64], operations: NDArray[np.int64]
) -> Found:
    """Return for each transaction what is odd about it; nothing where all are as usual.

    Parameters
    ----------
    usual
        Ranges of a contract, as `models.budget.plausibility.USUAL`; what it does not bound is not looked at.
    amounts, days, operations
        In EUR, since 1970-01-01, of `models.budget.labels.OPERATIONS`: [N] each.
    """
    if not usual:
        return []
    low, high = _bounds(usual, "amount_eur")
    latest = _today() + _bounds(usual, "days_ahead")[1]
    zero, ahead, unsigned = amounts == 0, days > latest, look_unsigned(amounts, operations)
    vast = (amounts < low) | (amounts > high)
    cents = look_like_cents(amounts)
    if not (cents or (zero | ahead | unsigned | vast).any()):
        return []
    found: Found = [[] for _ in range(len(amounts))]
    if cents:
        median = float(np.median(np.abs(amounts)))
        found[0].append(Unusual("amount", f"all amounts are whole, half of them {median:.0f} or more: cents? Send EUR"))
    for field, odd, what in (
        ("amount", zero, "nothing was paid: 0 EUR"),
        ("amount", vast, "more than a household pays at once: cents? Send EUR"),
        ("amount", unsigned, "a positive amount, though the label says that money was spent: negative?"),
        ("date", ahead, "the day lies far ahead"),
    ):
        rows = np.flatnonzero(odd).tolist()
        if len(rows) > MOST_NAMED:
            found[rows[0]].append(Unusual(field, f"{what} (and {len(rows) - 1} more like it)"))
            continue
        for at in rows:
            found[at].append(Unusual(field, what))
    return found


def unusual_household(
    usual: Mapping[str, Range], month: str, months: NDArray[np.float64], spent: NDArray[np.float64]
) -> list[Unusual]:
    """Return what is odd about a household's month and what its categories cost.

    Parameters
    ----------
    usual
        Ranges of a contract, as `models.budget.plausibility.USUAL_MONTH`.
    month
        Such as ``2026-11``.
    months
        Totals of earlier months, float64 [categories, M], NaN in front where there are fewer.
    spent
        In this one so far, float64 [categories].
    """
    if not usual:
        return []
    found = []
    now = np.datetime64(_today(), "D").astype("datetime64[M]")
    ahead, times = _bounds(usual, "months_ahead")[1], _bounds(usual, "spent_times_highest")[1]
    if (np.datetime64(month, "M") - now).astype(np.int64) > ahead:
        found.append(Unusual("month", f"{month} begins later than next month: the months before it are not over"))
    if not (np.nan_to_num(months) != 0).any():
        found.append(Unusual("categories", "nothing was spent in any month"))
    highest = np.nanmax(months, axis=1)
    for at in np.flatnonzero((highest > 0) & (spent > times * highest)).tolist():
        message = (
            f"{spent[at]:.2f} is more than {times:.0f} times the highest month, {highest[at]:.2f}: cents? Send EUR"
        )
        found.append(Unusual(f"categories[{at}].spent", message))
    for at in np.flatnonzero((months < 0).sum(axis=1) * 2 > (~np.isnan(months)).sum(axis=1)).tolist():
        found.append(Unusual(f"categories[{at}].months", "most months are negative: spending is positive here"))
    for at in np.flatnonzero((spent < 0) & (highest > 0) & (-spent > highest)).tolist():
        found.append(
            Unusual(f"categories[{at}].spent", "more came back than any month cost: spending is positive here")
        )
    return found


def _bounds(usual: Mapping[str, Range], name: str) -> tuple[float, float]:
    low, high = usual.get(name, (None, None))
    return -np.inf if low is None else low, np.inf if high is None else high


def _today() -> int:
    return int(np.datetime64(datetime.now(UTC).date()).astype(np.int64))
