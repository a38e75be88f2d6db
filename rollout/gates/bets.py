"""E-values from counts: bets against a null hypothesis that nobody can win, however often the score is looked at.

An e-process starts at 1 and is never expected to grow while its null hypothesis is true, so it exceeds ``1 / alpha``
at *any* time with probability at most alpha (Ville, 1939). Everything here is a mixture of likelihood ratios or of
bets over a fixed grid of alternatives, so it depends on counts alone, not on their order: looked at every second or
once, the promise is the same. docs/JUDGE.md derives each.

All functions return natural logarithms and broadcast over arrays of counts.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Logs = NDArray[np.float64]

STEPS = np.concatenate([[0.0], np.geomspace(0.02, 6.0, 36)])
"""How far alternatives lie from the null, in log-odds. The first bets nothing, so that there is always something left:
`between` asks for the product of two bets of which one may be on nothing."""

STAKES = np.concatenate([[0.0], np.geomspace(0.005, 0.98, 28)])
"""Shares of the largest stake that a bet on a mean may put in."""

NULLS = np.linspace(0.0, 1.0, 49)
"""Where between two arms' observed rates the common rate of their null hypothesis is looked for."""

AT_ONCE = 256
"""So many pairs of arms are compared at once, which bounds the memory that takes."""


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
    return _mixed(successes, trials, rate, STEPS)


def below(successes: ArrayLike, trials: ArrayLike, rate: ArrayLike) -> Logs:
    """Bet against "successes come at least at this rate"; otherwise as `above`."""
    return _mixed(successes, trials, rate, -STEPS)


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


def mean_above(worse: ArrayLike, same: ArrayLike, better: ArrayLike, mean: float) -> Logs:
    """Bet against "a number that is -1, 0 or 1 has at most this mean".

    Parameters
    ----------
    worse, same, better
        How often it was 1 (a loss for who bets on the null), 0 and -1.
    mean
        From -1 to 1, exclusive.

    Returns
    -------
    ndarray of float
        Log e-values: a mixture over stakes l of ``prod(1 + l (x - mean))`` (Waudby-Smith & Ramdas, 2024).
    """
    ones, zeros, minus = np.broadcast_arrays(*(np.asarray(one, np.float64)[..., None] for one in (worse, same, better)))
    stakes = STAKES / (1 + mean)  # a bet never loses more than all it has
    won = (
        ones * np.log1p(stakes * (1 - mean)) + zeros * np.log1p(-stakes * mean) + minus * np.log1p(-stakes * (1 + mean))
    )
    return _mean_of_exponentials(won)


def _mixed(successes: ArrayLike, trials: ArrayLike, rate: ArrayLike, steps: NDArray[Any]) -> Logs:
    x, n, p = (np.asarray(one, np.float64)[..., None] for one in (successes, trials, rate))
    odds = np.log(p) - np.log1p(-p)
    other = 1 / (1 + np.exp(-(odds + steps)))
    return _mean_of_exponentials(x * np.log(other / p) + (n - x) * (np.log1p(-other) - np.log1p(-p)))


def _mean_of_exponentials(logs: Logs) -> Logs:
    most = logs.max(axis=-1, keepdims=True)
    mean: Logs = most[..., 0] + np.log(np.exp(logs - most).mean(axis=-1))
    return mean
