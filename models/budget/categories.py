"""What the categorizer sees of a transaction: a bag of its label's n-grams, and facts of its amount and day.

::

    text ───── hashed words and n-grams, 1 + ln(count), length 1 ──┐
    text x amount ── hashed words, each with its amount's bin ─────┼── indices int64 [N, K], weights float32 [N, K]
    whose ────── account, user, and each word with its user ───────┤
    facts ──── one column each: kind, amount, cents, calendar ─────┘

Whose it is, is left empty where it is not known; a user the model has met gets what that user's words meant before
(feature hashing for many tasks: Weinberger et al., 2009), anybody else what they mean to all. Everything is a bucket of
one table, so a linear model on it is a weighted sum of the table's rows, whatever it weighs.
Inverse document frequencies are not applied here: they are known in training only, and multiplied into the table's rows
there. numpy only, about 4 µs a transaction in a batch of 100; the same code trains and serves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from models.budget.labels import OPERATIONS, Parsed
from models.text import Hashing, hashed, padded, tfidf

TEXT: Final = Hashing(buckets=1 << 15, word=(1, 2), char=(3, 5))
CROSSES: Final = 1 << 14
"""Buckets of words crossed with the amount."""

PERSONAL: Final = 1 << 15
"""Buckets of accounts, users, and words crossed with users."""

CROSS_WEIGHT: Final = 0.4
PERSONAL_WEIGHT: Final = 0.4
FACT_WEIGHT: Final = 0.5
"""What crosses, people and facts weigh beside a text of length 1: a ridge penalty shrinks what weighs less more."""

Owner = tuple[str, str]
"""Account and user."""

_KINDS: Final = len(OPERATIONS) * 2  # each with its sign
_BINS, _COARSE, _CENTS = 16, 8, 5
GROUPS: Final = ("kind", "amount", "cents", "month", "weekday", "day", "kind x amount", "cents x amount", "scaled")
_WIDTHS: Final = (_KINDS, _BINS, _CENTS, 12, 7, 8, _KINDS * _BINS, _CENTS * _BINS, 6)
_STARTS: Final = tuple(int(start) for start in TEXT.buckets + CROSSES + PERSONAL + np.cumsum((0, *_WIDTHS))[:-1])
BUCKETS: Final = TEXT.buckets + CROSSES + PERSONAL + sum(_WIDTHS)
"""Rows of the table."""

GROUP_COLUMNS: Final = {
    "text": slice(0, TEXT.buckets),
    "text x amount": slice(TEXT.buckets, TEXT.buckets + CROSSES),
    "whose": slice(TEXT.buckets + CROSSES, TEXT.buckets + CROSSES + PERSONAL),
    **{name: slice(start, start + width) for name, start, width in zip(GROUPS, _STARTS, _WIDTHS, strict=True)},
}
"""Which rows of the table are whose."""

FACTS: Final = slice(TEXT.buckets + CROSSES + PERSONAL, BUCKETS)
"""The rows of facts."""

SCALED: Final = (
    "log amount",
    "day of the month",
    "month (sine)",
    "month (cosine)",
    "weekday (sine)",
    "weekday (cosine)",
)

_WITHOUT: Final = {
    "operation": frozenset({"kind", "kind x amount"}),
    "amount": frozenset({"amount", "cents", "kind x amount", "cents x amount"}),
    "date": frozenset({"month", "weekday", "day"}),
}
_SCALED_WITHOUT: Final = {"operation": (), "amount": (0,), "date": (1, 2, 3, 4, 5)}


@dataclass(frozen=True)
class Scaling:
    """How the logarithm of the amount is scaled, robustly: its median and interquartile range in training."""

    centre: float = 3.2
    width: float = 1.6

    @classmethod
    def fit(cls, amounts: NDArray[np.float64]) -> "Scaling":
        """Return the scaling of some amounts."""
        low, middle, high = np.percentile(_magnitude(amounts), (25, 50, 75))
        return cls(float(middle), float(max(high - low, 1e-3)))

    @classmethod
    def read(cls, mapping: Mapping[str, Any]) -> "Scaling":
        """Return what an archive holds."""
        return cls(float(mapping["centre"]), float(mapping["width"]))


def bag(
    parsed: Parsed,
    amounts: NDArray[np.float64],
    days: NDArray[np.int64],
    scaling: Scaling,
    owners: Sequence[Owner] = (),
    hidden: Mapping[str, NDArray[np.bool_]] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return what the graph takes.

    Parameters
    ----------
    parsed : Parsed
        The labels, N of them.
    amounts : ndarray of float64, shape (N,)
        In EUR, negative when spent.
    days : ndarray of int64, shape (N,)
        Since 1970-01-01.
    scaling : Scaling
    owners : sequence of (account, user), optional
        Of each transaction; either may be empty. No owners if nothing is known of any.
    hidden : mapping, optional
        "operation", "amount" or "date" to bool [N]: of which rows it is left out, for explanations.

    Returns
    -------
    indices : ndarray of int64, shape (N, K)
        Rows of the table; K is that of the row with most n-grams.
    weights : ndarray of float32, shape (N, K)
        0 where a row has fewer.
    """
    bins = np.clip((_magnitude(amounts) - 0.5) / 0.5, 0, _BINS - 1).astype(np.int64)
    offsets, buckets, counts = hashed(parsed.texts, TEXT)
    text = padded(offsets, buckets, tfidf(offsets, buckets, counts, _ONES))
    words = [text.split() for text in parsed.texts]
    crossed = _cross(words, bins)
    parts = [text, crossed]
    if any(account or user for account, user in owners):
        parts.append(_personal(words, owners))
    indices, weights = _facts(parsed.operations, amounts, days, bins, scaling)
    for name, rows in (hidden or {}).items():
        gone = [at for at, group in enumerate(GROUPS) if group in _WITHOUT[name]]
        gone += [len(GROUPS) - 1 + at for at in _SCALED_WITHOUT[name]]
        weights[np.flatnonzero(rows)[:, None], gone] = 0
        if name == "amount":
            crossed[1][rows] = 0
    parts.append((indices, weights))
    return (
        np.concatenate([part[0] for part in parts], axis=1),
        np.concatenate([part[1] for part in parts], axis=1),
    )


# How a price ends: in euros, in a half, just below a whole, in fives, or anyhow.
_ENDINGS: Final = np.array(
    [0 if c == 0 else 1 if c == 50 else 2 if c in (90, 95, 99) else 3 if c % 5 == 0 else 4 for c in range(100)]
)
_ONES: Final = np.ones(TEXT.buckets, np.float32)


def _magnitude(amounts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.abs(amounts) + 0.01)


def _cross(words: list[list[str]], bins: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return a bucket per word and amount's bin: the same word of another price is another n-gram."""
    counts = np.array([len(row) for row in words], np.int64)
    # Words are few: a checksum in C is quicker than a second pass over the letters of the batch.
    sums = np.array([crc32(word.encode()) for row in words for word in row], np.int64)
    moved = sums + np.repeat((bins // (_BINS // _COARSE) + 1) * 0x9E3779B1, counts)
    moved = (moved ^ moved >> 15) * 0x85EBCA6B >> 9 & CROSSES - 1
    weights = np.repeat(CROSS_WEIGHT / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    indices, padding = padded(offsets, moved, weights)
    return indices + TEXT.buckets, padding


def _personal(words: list[list[str]], owners: Sequence[Owner]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return a bucket for the account, each of its words, the user, and each word of the label by that user."""
    sums: list[int] = []
    counts = []
    for row, (account, user) in zip(words, owners, strict=True):
        before = len(sums)
        if account:
            name = account.upper()
            sums.append(crc32(name.encode("utf-8", "surrogatepass"), 1))
            sums += [crc32(word.encode("utf-8", "surrogatepass"), 2) for word in name.split()]
        if user:
            mine = crc32(user.encode("utf-8", "surrogatepass"), 3)
            sums.append(mine)
            sums += [crc32(word.encode(), mine) for word in row]
        counts.append(len(sums) - before)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    buckets = np.array(sums, np.int64) * 0x85EBCA6B >> 9 & PERSONAL - 1
    indices, weights = padded(offsets, buckets, np.full(len(sums), PERSONAL_WEIGHT, np.float32))
    return indices + TEXT.buckets + CROSSES, weights


def _facts(
    operations: NDArray[np.int64],
    amounts: NDArray[np.float64],
    days: NDArray[np.int64],
    bins: NDArray[np.int64],
    scaling: Scaling,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return one bucket per group of facts, and the scaled ones with their values: [N, len(GROUPS) - 1 + 6]."""
    kinds = operations * 2 + (amounts > 0)
    hundredths = np.round(np.abs(amounts) * 100).astype(np.int64) % 100
    cents = _ENDINGS[hundredths]
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    month, weekday = months.astype(np.int64) % 12, (days + 3) % 7  # 1970-01-01 was a Thursday
    day = (dates - months).astype(np.int64)
    columns = (kinds, bins, cents, month, weekday, day // 4, kinds * _BINS + bins, cents * _BINS + bins)
    indices = np.stack([start + column for start, column in zip(_STARTS, columns, strict=False)], axis=1)
    scaled = np.stack(
        [
            np.clip((_magnitude(amounts) - scaling.centre) / scaling.width, -3, 3),
            day / 15 - 1,
            np.sin(month * (np.pi / 6)),
            np.cos(month * (np.pi / 6)),
            np.sin(weekday * (2 * np.pi / 7)),
            np.cos(weekday * (2 * np.pi / 7)),
        ],
        axis=1,
    )
    places = np.broadcast_to(_STARTS[-1] + np.arange(6), (len(amounts), 6))
    weights = np.concatenate([np.full(indices.shape, FACT_WEIGHT), scaled * FACT_WEIGHT], axis=1).astype(np.float32)
    return np.concatenate([indices, places], axis=1), weights
