"""Lists of bank transactions in a request: checked in a few passes over all of them.

A transaction is ``{"label": …, "amount": …, "date": …}`` (and, where a handler asks for it, ``"category"``). 500 of
them take about 0.1 ms; where amounts are strings, days instants, labels absent, or something is wrong, they are taken
one by one (`handlers.budget.values`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import validation as take
from handlers.budget import values
from handlers.budget.values import LARGEST_AMOUNT
from handlers.decoding import describe
from handlers.errors import InvalidError
from models.budget.labels import LONGEST_LABEL

LONGEST_NAME = 200
"""Characters of a category's name."""

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
        Whether each has a ``category`` too.

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
    return found if found is not None else _one_by_one(sent, name, names)


def _all(sent: Sequence[Any], names: frozenset[str]) -> Transactions | None:
    """Return the transactions if every one has its plain form, in a few passes; None if any has not."""
    if not ({*map(type, sent)} <= {dict} and set().union(*sent) <= names):
        return None
    categories = "category" in names
    labels = [one.get("label") for one in sent]
    amounts = [one.get("amount") for one in sent]
    dates = [one.get("date") for one in sent]
    groups = [one.get("category") for one in sent] if categories else []
    if not ({*map(type, labels)} | {*map(type, dates)} | {*map(type, groups)} <= {str}):
        return None
    if not {*map(type, amounts)} <= {int, float}:
        return None
    if max(map(len, labels), default=0) > LONGEST_LABEL:
        return None
    if not all(groups) or max(map(len, groups), default=0) > LONGEST_NAME:
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


def _one_by_one(sent: Sequence[Any], name: str, names: frozenset[str]) -> Transactions:
    """Take transactions as `handlers.budget.values` reads them, or say what is wrong with the first that is none."""
    rows = []
    for index, one in enumerate(sent):
        if type(one) is not dict:
            raise InvalidError(f"{name}[{index}]", "an object", describe(one))
        try:
            if unknown := sorted(one.keys() - names):
                expected = f"only the fields {', '.join(sorted(names))}"
                raise InvalidError(unknown[0][:64], expected, describe(one[unknown[0]]))
            group = take.text(one, "category", LONGEST_NAME) if "category" in names else ""
            rows.append((values.label(one), group, values.amount(one, "amount"), values.day(one, "date")))
        except InvalidError as error:
            raise error.inside(f"{name}[{index}]") from None
    labels, groups, amounts, days = map(list, zip(*rows, strict=True))
    return Transactions(
        labels,
        [str(day) for day in days],
        groups if "category" in names else [],
        np.array(amounts, np.float64),
        np.array(days, "datetime64[D]").astype(np.int64),
    )
