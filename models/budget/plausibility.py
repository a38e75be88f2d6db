"""What can be and what usually is, of transactions: the same checks for what is learned from and what is answered.

Bounds travel in an archive's contract under these names: what is not possible is left out of training and refused in
serving; what is not usual is answered with a warning.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.budget.labels import CARD, CASH, CHEQUE, DEBIT, FEE

POSSIBLE: Final = {"amount_eur": (-1e9, 1e9)}
USUAL: Final = {"amount_eur": (-100_000.0, 100_000.0), "days_ahead": (None, 62.0)}
"""Of a transaction: its amount, and how many days after today it is; standing orders are announced two months ahead."""

USUAL_MONTH: Final = {"months_ahead": (None, 1.0), "spent_times_highest": (None, 20.0)}
"""Of a forecast: how many months its month lies after today's, and what was spent against the highest month before."""

SPENT: Final = (CARD, DEBIT, CASH, CHEQUE, FEE)
"""Kinds of booking by which money goes out."""

CENTS_ROWS: Final = 8
"""Amounts that must all be whole before they are suspected to be cents."""

CENTS_MEDIAN: Final = 1000.0
"""Their median from which they are: half of a household's payments are below 40 EUR."""


def look_like_cents(amounts: NDArray[np.float64]) -> bool:
    """Return whether amounts of one person look like cents: all whole, and half of them at least `CENTS_MEDIAN`.

    Parameters
    ----------
    amounts : ndarray of float64, shape (N,)
        In EUR; those of 0 do not count.
    """
    paid = np.abs(amounts[amounts != 0])
    return len(paid) >= CENTS_ROWS and bool((paid == np.floor(paid)).all()) and float(np.median(paid)) >= CENTS_MEDIAN


def look_unsigned(amounts: NDArray[np.float64], operations: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which amounts are positive though the label says that money went out: a card payment, a debit, a fee.

    Parameters
    ----------
    amounts : ndarray of float64, shape (N,)
        Negative when spent.
    operations : ndarray of int64, shape (N,)
        Of `models.budget.labels.parsed`.
    """
    return (amounts > 0) & np.isin(operations, SPENT)
