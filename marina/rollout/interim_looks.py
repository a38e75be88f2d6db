"""Looks at the clients of a rollout: how each fared so far, more and more seldom, and each look once.

A look weighs all clients again, so it would be a new chance of a false alarm each second. They are taken when half as
many requests again as at the one before have come to both versions together, which says nothing of how either fares.
What a look found is kept, and stands until the next.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marina.rollout.judge.client_looks import NETS
from marina.rollout.judge.evidence import Crowd, Look

FIRST = 10
"""The first look is due when the version with the lesser share of the traffic has had about this many requests."""

GROWTH = 1.5

MOST = 64
"""Where requests are counted one by one, a client has at most that many: what it did in all is scaled down to that."""

USUAL = 50
"""A client is taken to have made this many requests more, which went as those of all clients did: who asked once and
met a failure has not fared worst of all."""

CLASS = 1.02
"""Shares that went wrong are in one class within this much of each other."""

LEAST = -600
"""The class of shares that are less than any that can be met."""


class Observed(NamedTuple):
    """Clients of a version that encountered equally many failures (or the like) in equally many requests."""

    canary: bool
    wrong: float
    of: int
    clients: int


class Paired(NamedTuple):
    """Clients that lost equally often by the canary, and gained equally often, in equally many pairs."""

    worse: int
    better: int
    of: int
    clients: int


def due_at(number: int, share: float) -> int:
    """Return how many requests have to have come to both versions for a look, one having this share of them."""
    return math.ceil(FIRST * GROWTH**number / (min(share, 1 - share) if share < 1 else 1.0))


def number(requests: float, share: float) -> int:
    """Return which look is due when that many requests have come to both versions; -1 before the first."""
    found = -1
    while due_at(found + 1, share) <= requests:
        found += 1
    return found


def by_rate(number: int, observed: Iterable[Observed]) -> Look:
    """Look at clients by the share of their requests that went wrong, as far as it differs from the usual one."""
    rows = np.array([tuple(one) for one in observed], np.float64).reshape(-1, len(Observed._fields))
    canary, wrong, of, clients = rows[:, 0] == 1, *rows[:, 1:].T
    capped = capped_of(of)
    usual = (clients * wrong * capped / of).sum() / max(1.0, (clients * capped).sum())
    fared = rate_class(wrong, of, usual)
    stable, other = (_crowd(mine, fared, wrong, of, clients) for mine in (~canary, canary))
    return Look(number, stable, other)


def by_pairs(number: int, observed: Iterable[Paired]) -> Look:
    """Look at clients by what they lost by the canary, net, in 64ths; what they gained stands as stable's loss."""
    rows = np.array([tuple(one) for one in observed], np.int64).reshape(-1, len(Paired._fields))
    worse, better, of, clients = rows.T
    fared = np.rint(NETS * (worse - better) / of).astype(np.int64)
    everyone = np.ones(len(rows), np.bool_)
    lost, gained = (_crowd(everyone, fared, wrong, of, clients) for wrong in (worse, better))
    return Look(number, Crowd((), gained.wrong, gained.of), lost)


def rate_class(wrong: ArrayLike, of: ArrayLike, usual: ArrayLike) -> NDArray[np.int64]:
    """Return the class of clients whose requests went wrong so often, where this share of all clients' does."""
    rate = (np.asarray(wrong) + USUAL * np.asarray(usual)) / (np.asarray(of) + USUAL)
    found = np.floor(np.log(np.maximum(rate, CLASS**LEAST)) / math.log(CLASS)).astype(np.int64)
    classes: NDArray[np.int64] = np.maximum(found, LEAST)  # logarithms may miss it by a rounding error
    return classes


def capped_of(of: ArrayLike) -> NDArray[Any]:
    """Return for how many requests a client counts where they are counted one by one."""
    return np.minimum(of, MOST)


def _crowd(
    mine: NDArray[Any], fared: NDArray[Any], wrong: NDArray[Any], of: NDArray[Any], clients: NDArray[Any]
) -> Crowd:
    classes, place = np.unique(fared[mine], return_inverse=True)
    counts = np.bincount(place, clients[mine], len(classes))
    capped = capped_of(of[mine])
    return Crowd(
        tuple((int(key), int(count)) for key, count in zip(classes, counts, strict=True)),
        round(float((clients[mine] * wrong[mine] * capped / of[mine]).sum()), 3),
        int((clients[mine] * capped).sum()),
    )
