"""Transactions that cannot be right, found before anything learns from them, by the checks that serving makes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from models.budget.labels import parsed
from models.budget.plausibility import USUAL, look_like_cents, look_unsigned
from training.data.quality import BadDataError, Fault

if TYPE_CHECKING:
    import pandas as pd

LEAST_UNSIGNED = 10
MOST_UNSIGNED = 0.5
"""Share of card payments, debits and fees with a positive amount from which a file is refused: its signs are wrong."""


def check_plausible(frame: pd.DataFrame, file: str) -> list[str]:
    """Refuse a file whose amounts as a whole are no euros, negative when spent; return what is odd about single rows.

    Parameters
    ----------
    frame
        Columns label, amount and date.
    file
        Name to report faults under.

    Raises
    ------
    BadDataError
        If amounts are cents, or have the wrong sign.
    """
    amounts = frame["amount"].to_numpy(np.float64)
    if look_like_cents(amounts):
        detail = (
            f"expected EUR, got only whole amounts with a median of {np.median(np.abs(amounts)):.0f}; divide by 100"
        )
        raise BadDataError([Fault(file, None, "amounts in cents", detail)])
    operations = parsed(frame["label"].tolist()).operations
    unsigned, out = look_unsigned(amounts, operations), look_unsigned(np.ones(len(amounts)), operations)
    if out.sum() >= LEAST_UNSIGNED and unsigned.sum() > MOST_UNSIGNED * out.sum():
        detail = (
            f"expected negative amounts where money is spent, got positive ones in {unsigned.sum()} of {out.sum()} "
            "card payments, debits and fees; change the sign"
        )
        raise BadDataError([Fault(file, None, "wrong sign", detail)])
    (low, high), (_, latest) = USUAL["amount_eur"], USUAL["days_ahead"]
    ahead = (frame["date"].to_numpy() - np.datetime64(datetime.now(UTC).date())) / np.timedelta64(1, "D")
    odd = {
        "of 0 EUR": amounts == 0,
        "of more than a household pays at once": (amounts < low) | (amounts > high),
        f"more than {latest:.0f} days ahead": ahead > latest,
        "positive though the label says that money was spent": unsigned,
    }
    return [f"{file}: {rows.sum()} transactions {what}, kept" for what, rows in odd.items() if rows.any()]
