"""Lists of bank transactions in a request: checked in a few passes over all of them.

A transaction is ``{"label": …, "amount": …, "date": …}`` (and, where a handler asks for it, ``"category"``). 500 of
them take about 0.1 ms; only where something is wrong are they looked at one by one, to say which and what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import fields as take
from handlers.errors import InvalidError
from handlers.wire import describe

LONGEST_LABEL = 200
LARGEST_AMOUNT = 1e9
"""In euros, either way."""

_FIRST, _LAST = np.datetime64("1900-01-01"), np.datetime64("2199-12-31")


@dataclass(frozen=True)
class Transactions:
    """N transactions as they were sent.

    Attributes
    ----------
    labels, dates, categories
        Length N; dates as ``2026-11-21``; no categories where none are asked for.
    amounts
        float64 [N] in euros, negative is spent.
    days
        int64 [N], days since 1970-01-01.
    """

    labels: list[str]
    dates: list[str]
    categories: list[str]
    amounts: NDArray[np.float64]
    days: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.amounts)


def transactions(
    fields: dict[str, Any], name: str, most: int, *, least: int = 0, categories: bool = False
) -> Transactions:
    """Take a list of transactions; an absent one is empty.

    Parameters
    ----------
    fields
        The instance.
    name
        Of the list.
    most, least
        How many there may be.
    categories
        Whether each has a ``category`` too; its ``label`` may then be absent.

    Raises
    ------
    InvalidError
        Naming the first that is not a transaction, and the field.
    """
    sent = fields.get(name)
    expected = f"an array of {least} to {most} transactions"
    if sent is None and not least:
        sent = []
    if type(sent) is not list:
        raise InvalidError(name, expected, describe(sent) if name in fields else "nothing")
    if not least <= len(sent) <= most:
        raise InvalidError(name, expected, str(len(sent)))
    names = frozenset({"label", "amount", "date", "category"}) if categories else frozenset({"label", "amount", "date"})
    found = _all(sent, names)
    if found is None:
        for index, one in enumerate(sent):
            _check(one, f"{name}[{index}]", names)
        raise InvalidError(name, expected, "something else")
    return found


def _all(sent: Sequence[Any], names: frozenset[str]) -> Transactions | None:
    """Return the transactions if every one is as it should be, in a few passes; None if any is not."""
    if not ({*map(type, sent)} <= {dict} and set().union(*sent) <= names):
        return None
    categories = "category" in names
    labels = [one.get("label") for one in sent]
    if categories:
        labels = ["" if label is None else label for label in labels]
    amounts = [one.get("amount") for one in sent]
    dates = [one.get("date") for one in sent]
    groups = [one.get("category") for one in sent] if categories else []
    if not ({*map(type, labels)} | {*map(type, dates)} | {*map(type, groups)} <= {str}):
        return None
    if not {*map(type, amounts)} <= {int, float}:
        return None
    if max(map(len, labels + groups), default=0) > LONGEST_LABEL or not all(groups if categories else labels):
        return None
    # numpy would also read a month, a year or an instant; only the one form is as long and has its dashes there
    days_of = "".join(dates)
    dashes = "-" * len(dates)
    if not ({*map(len, dates)} <= {10} and days_of[4::10] == days_of[7::10] == dashes and days_of.isascii()):
        return None
    numbers = np.array(amounts, np.float64)
    try:
        days = np.array(dates, "datetime64[D]")
    except ValueError:
        return None
    if len(sent) and (not (np.abs(numbers) <= LARGEST_AMOUNT).all() or not ((days >= _FIRST) & (days <= _LAST)).all()):
        return None
    return Transactions(labels, dates, groups, numbers, days.astype(np.int64))


def _check(one: Any, place: str, names: frozenset[str]) -> None:
    """Say what is wrong with a transaction, if anything is."""
    if type(one) is not dict:
        raise InvalidError(place, "an object", describe(one))
    try:
        if unknown := sorted(one.keys() - names):
            raise InvalidError(
                unknown[0][:64], f"only the fields {', '.join(sorted(names))}", describe(one[unknown[0]])
            )
        if "category" in names:
            take.text(one, "category", LONGEST_LABEL)
            take.text(one, "label", LONGEST_LABEL, "")
        else:
            take.text(one, "label", LONGEST_LABEL)
        take.number(one, "amount", -LARGEST_AMOUNT, LARGEST_AMOUNT)
        take.date(one, "date")
    except InvalidError as error:
        raise error.inside(place) from None
