"""A user's transactions in order, and how each judged one compares with those before it.

"Before" means: on an earlier day, or on the same day and further up; and in the same direction, since what comes in is
no standard for what goes out. Merchants are distinguished by the similarity of their keys (`merchant_keys`; normalised
indel similarity, rapidfuzz), since banks shorten, number and misspell them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from models.budget.labels import OPERATIONS, parsed
from models.budget.robust import Floats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SAME: Final = 0.84
"""Similarity from which two keys are taken for one merchant."""


@dataclass(frozen=True)
class History:
    """One user's transactions, oldest first; within a day in the bank's order.

    Attributes
    ----------
    keys
        Who was paid, by `merchant_keys`; length N.
    days
        int64 [N], days since 1970-01-01, ascending.
    amounts
        float64 [N] in euros, negative is spent.
    judged
        int64 [P], the rows to be judged, in any order.
    """

    keys: Sequence[str]
    days: Ints
    amounts: Floats
    judged: Ints


@dataclass(frozen=True)
class Compared:
    """P judged rows against all N.

    Attributes
    ----------
    alike
        float64 [P, N], similarity of the keys, 0 to 1.
    gap
        int64 [P, N], by how many days a row lies before the judged one; negative after it.
    way
        bool [P, N], whether both go in one direction.
    before
        bool [P, N], whether a row goes in the same direction and comes before.
    merchant
        bool [P, N], whether it does and is of the same merchant.
    visits
        int64 [P], how many are.
    columns, known
        int64 and bool [P, K]: which they are, packed to the left, oldest first; and which of the K are real.
    """

    alike: Floats
    gap: Ints
    way: Bools
    before: Bools
    merchant: Bools
    visits: Ints
    columns: Ints
    known: Bools


def merchant_keys(labels: Sequence[str]) -> list[str]:
    """Return who was paid, as far as each bank label says; the kind of booking where it names no one.

    Parameters
    ----------
    labels : sequence of str
        As the bank wrote them.
    """
    known = parsed(labels)
    return [text or OPERATIONS[kind].upper() for text, kind in zip(known.texts, known.operations.tolist(), strict=True)]


def compared(history: History) -> Compared:
    """Compare each judged row with every other.

    Parameters
    ----------
    history : History
        Costs time and memory in P x N.
    """
    judged, incoming = history.judged, history.amounts > 0
    alike = _similarity(history.keys, judged)
    way = incoming[judged, None] == incoming[None, :]
    before = way & (np.arange(len(incoming))[None, :] < judged[:, None])
    merchant = before & (alike >= SAME)
    columns, known = _pack(merchant)
    return Compared(
        alike=alike,
        gap=history.days[judged, None] - history.days[None, :],
        way=way,
        before=before,
        merchant=merchant,
        visits=merchant.sum(axis=1),
        columns=columns,
        known=known,
    )


def new_words(keys: Sequence[str], judged: Ints) -> Floats:
    """Return the share of each judged key's words that no earlier key bears, float64 [P]."""
    split = [key.split() for key in keys]
    first: dict[str, int] = {}
    for at, words in enumerate(split):
        for word in words:
            first.setdefault(word, at)
    return np.array([sum(first[word] == at for word in split[at]) / max(1, len(split[at])) for at in judged.tolist()])


def _similarity(keys: Sequence[str], judged: Ints) -> Floats:
    texts = list(dict.fromkeys(keys))
    place = {text: at for at, text in enumerate(texts)}
    which = np.array([place[key] for key in keys])
    mine = [keys[at] for at in judged.tolist()]
    asked = {text: at for at, text in enumerate(dict.fromkeys(mine))}
    table = process.cdist(list(asked), texts, scorer=fuzz.ratio, dtype=np.uint8)
    alike: Floats = table[[asked[key] for key in mine]][:, which] / 100.0
    return alike


def _pack(mask: Bools) -> tuple[Ints, Bools]:
    """Return per row the columns where a mask is set, packed to the left, and which entries are real."""
    counts = mask.sum(axis=1)
    width = max(1, int(counts.max(initial=0)))
    rows, where = np.nonzero(mask)
    slot = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = np.zeros((len(mask), width), np.int64)
    columns[rows, slot] = where
    return columns, np.arange(width)[None, :] < counts[:, None]
