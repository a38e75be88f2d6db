"""E-values from counts: bets against a null hypothesis that no one can win, however often the score is looked at.

An e-process starts at 1 and is never expected to grow while its null hypothesis is true, so it exceeds ``1 / alpha``
at *any* time with probability at most alpha (Ville, 1939). Everything here is a mixture of bets over a fixed grid of
alternatives, so it depends on counts alone, not on their order: looked at every second or once, the guarantee is the
same. docs/JUDGE.md derives each.

All functions return natural logarithms and broadcast over arrays of counts.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Logs = NDArray[np.float64]

STEPS = np.concatenate([[0.0], np.geomspace(0.02, 6.0, 24)])
"""How far alternatives lie from the null, in log-odds. The first bets nothing, so that there is always something left:
`between` asks for the product of two bets of which one may be on nothing."""

_MONEY = np.exp(-(np.log(STEPS[1:] / 0.5) ** 2) / 2)
LOG_SHARES = np.log(np.concatenate([[0.1], 0.9 * _MONEY / _MONEY.sum()]))
"""Which share of the money each alternative gets, as a logarithm: most goes to odds half again as high, or a few times,
which is where versions lie that are neither alike nor worlds apart."""

NULLS = np.linspace(0.0, 1.0, 49)
"""Where between two arms' observed rates the common rate of their null hypothesis is looked for."""

AT_ONCE = 256
"""This many pairs of arms are compared at once, which bounds the memory that takes."""

FAILURES, PAIRS = np.array([0.0, 1.0]), np.array([0.0, 0.5, 1.0])
"""The values that an observation may have: nothing or a failure; a gain, nothing or a loss."""


def above(successes: ArrayLike, trials: ArrayLike, rate: ArrayLike) -> Logs:
    """Bet against "successes come at most at this rate".

    Parameters
    ----------
    successes, trials
        Counts, broadcast together.
    rate
        Between 0 and 1, broadcast with them.

    Returns
    -------
    ndarray of float
        Log e-values: a mixture over higher rates of their likelihood ratio against `rate` (Robbins, 1970). Each ratio
        is a supermartingale for every true rate up to `rate`.
    """
    return _mix(FAILURES, _failures(successes, trials), rate, STEPS)


def below(successes: ArrayLike, trials: ArrayLike, rate: ArrayLike) -> Logs:
    """Bet against "successes come at least at this rate"; otherwise as `above`."""
    return _mix(FAILURES, _failures(successes, trials), rate, -STEPS)


def between(
    low_successes: ArrayLike, low_trials: ArrayLike, high_successes: ArrayLike, high_trials: ArrayLike, shift: float
) -> Logs:
    """Bet against "the second arm's rate is at most the first one's plus a shift".

    For every common rate p the product of ``below(first, p)`` and ``above(second, p + shift)`` is an e-process for
    "the first is at least p and the second at most p + shift"; the least of them, over p, is one for the union of
    these hypotheses (Turner & Grünwald, 2023, use the same device). The least lies between the observed rates.

    Parameters
    ----------
    low_successes, low_trials, high_successes, high_trials
        Counts of both arms.
    shift
        From -1 to 1.
    """
    arms = np.broadcast_arrays(low_successes, low_trials, high_successes, high_trials)
    flat = np.stack([arm.ravel().astype(np.float64) for arm in arms])  # (4, K)
    parts = np.array_split(flat, max(1, flat.shape[1] // AT_ONCE), axis=1)
    return np.concatenate([_least(part[0], part[1], part[2], part[3], shift) for part in parts]).reshape(arms[0].shape)


def _least(x1: Logs, n1: Logs, x2: Logs, n2: Logs, shift: float) -> Logs:
    observed1, observed2 = x1 / np.maximum(n1, 1), x2 / np.maximum(n2, 1) - shift
    low, high = max(1e-6, 1e-6 - shift), min(1 - 1e-6, 1 - 1e-6 - shift)
    p = np.clip(observed1 + NULLS[:, None] * (observed2 - observed1), low, high)  # (NULLS, K)
    least = (below(x1, n1, p) + above(x2, n2, p + shift)).min(axis=0)
    # No difference in that direction, or an arm without a trial, is no evidence at all.
    return np.where((observed2 > observed1) & (n1 > 0) & (n2 > 0), least, 0.0)


def pairs_above(worse: ArrayLike, same: ArrayLike, better: ArrayLike, mean: float) -> Logs:
    """Bet against "a number that is 1, 0 or -1 has at most this mean".

    Parameters
    ----------
    worse, same, better
        How often it was 1 (a loss for who bets on the null), 0 and -1.
    mean
        From -1 to 1, exclusive.

    Returns
    -------
    ndarray of float
        Log e-values: a mixture over stakes s of ``prod(1 + s (x - mean))`` (Waudby-Smith & Ramdas, 2024).
    """
    counts = np.stack([np.asarray(one, np.float64) for one in np.broadcast_arrays(better, same, worse)], axis=-1)
    return _mix(PAIRS, counts, (1 + mean) / 2, STEPS)


def _failures(successes: ArrayLike, trials: ArrayLike) -> Logs:
    """Return how often 0 and 1 came, along a new last axis."""
    x, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    return np.stack([n - x, x], axis=-1)


def _mix(values: NDArray[Any], counts: NDArray[Any], mean: ArrayLike, steps: NDArray[Any]) -> Logs:
    """Bet on other means of numbers from 0 to 1, each by the stake that for failures makes it a likelihood ratio."""
    q = np.asarray(mean, np.float64)[..., None]
    other = 1 / (1 + np.exp(-(np.log(q) - np.log1p(-q) + steps)))  # (..., STEPS)
    stakes = (other - q) / (q * (1 - q))
    won = LOG_SHARES
    for place, value in enumerate(values.tolist()):
        won = won + counts[..., place, None] * np.log1p(stakes * (value - q))
    most = won.max(axis=-1, keepdims=True)
    total: Logs = most[..., 0] + np.log(np.exp(won - most).sum(axis=-1))
    return total
