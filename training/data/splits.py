"""Splits by group or by time, never by row.

A model that has seen the same person, merchant or project in training looks far better than it is: on recorded signs a
random split shows 0.87 where a split by source shows 0.67. One that has seen the future does, too.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Names = npt.NDArray[np.str_]

MOST_REFERENCES: Final = 2_000
"""Held-out rows that an archive keeps, at most, for later traffic to be held against (docs/MONITORING.md)."""


def folds(groups: Names, count: int, seed: int = 0) -> list[tuple[Indices, Indices]]:
    """Divide rows into folds of whole groups, of about equal size.

    Parameters
    ----------
    groups
        str [N]: signer, user, project or whatever must not be on both sides.
    count
        Number of folds; at most one per group.
    seed
        Orders groups of equal size.

    Returns
    -------
    list of (train, test)
        int64 indices; each row is in exactly one test part.

    Raises
    ------
    ValueError
        If there are fewer groups than folds.
    """
    names, who = np.unique(groups, return_inverse=True)
    if not 1 < count <= len(names):
        raise ValueError(f"expected 2 to {len(names)} folds for {len(names)} groups, got {count}")
    rows_of = np.bincount(who)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    fold_of = np.empty(len(names), dtype=np.int64)
    sizes = np.zeros(count, dtype=np.int64)
    for group in shuffled[np.argsort(-rows_of[shuffled], kind="stable")]:  # the largest first, into the emptiest fold
        fold_of[group] = sizes.argmin()
        sizes[fold_of[group]] += rows_of[group]
    test_fold = fold_of[who]
    return [(np.flatnonzero(test_fold != k), np.flatnonzero(test_fold == k)) for k in range(count)]


def holdout(groups: Names, share: float, seed: int = 0) -> tuple[Indices, Indices]:
    """Set aside whole groups.

    Parameters
    ----------
    groups
        str [N]: signer, user, project or whatever must not be on both sides.
    share
        Wanted share of the rows set aside, between 0 and 1; at least one group goes to each side.
    seed
        Chooses the groups.

    Returns
    -------
    kept, aside : numpy.ndarray
        int64 indices.

    Raises
    ------
    ValueError
        If there are fewer than two groups, or the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"expected a share between 0 and 1, got {share}")
    names, who = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"expected rows of at least two groups to split by group, got {len(names)}")
    order = np.random.default_rng(seed).permutation(len(names))
    cumulated = np.cumsum(np.bincount(who)[order]) / len(who)
    number = int(np.clip(np.abs(cumulated - share).argmin() + 1, 1, len(names) - 1))
    aside: npt.NDArray[np.bool_] = np.isin(who, order[:number])
    return np.flatnonzero(~aside), np.flatnonzero(aside)


def by_time(times: npt.NDArray[Any], count: int, embargo: Any = 0) -> list[tuple[Indices, Indices]]:
    """Divide rows into rolling-origin folds: always trained on the past, tested on what came next.

    The rows are cut by time into ``count + 1`` blocks of about equal size; fold k is tested on block k + 1 and trained
    on everything that ended an embargo before it began (López de Prado, Advances in Financial Machine Learning, 2018,
    chapter 7: purging and embargo).

    Parameters
    ----------
    times
        [N], numbers or numpy.datetime64.
    count
        Number of folds.
    embargo
        How long before a test block training must end: at least as long as a label looks ahead. In the unit of
        `times`, or a numpy.timedelta64.

    Returns
    -------
    list of (train, test)
        int64 indices, in order of time; rows of one instant are never divided.

    Raises
    ------
    ValueError
        If there are too few instants, or an embargo leaves nothing to train on.
    """
    instants, rows = np.unique(times, return_counts=True)
    order = np.argsort(times, kind="stable").astype(np.int64)
    wanted = len(order) * np.arange(1, count + 1) / (count + 1)
    before = np.cumsum(rows) - rows
    cuts = np.minimum(np.searchsorted(before, wanted), len(instants) - 1)
    if count < 1 or len(np.unique(cuts)) < count:
        raise ValueError(f"expected at least 1 fold, and instants enough to cut {count} of them, got {len(instants)}")
    starts = list(instants[cuts])
    done = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        train = order[times[order] < start - embargo]
        after = times[order] >= start
        test = order[after if end is None else after & (times[order] < end)]
        if not len(train) or not len(test):
            raise ValueError(f"a fold that starts at {start} has {len(train)} rows to train on and {len(test)} to test")
        done.append((train, test))
    return done
