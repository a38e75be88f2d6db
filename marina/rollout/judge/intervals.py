"""How sure a rate or a difference is, for reports that people look at as often as they like."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from marina.rollout.judge.e_values import Logs, above, below

HALVINGS = 40


def interval(successes: float, trials: float, alpha: float = 0.05) -> tuple[float, float]:
    """Return a confidence interval of a rate that holds at all looks together.

    These are the rates that neither of the judge's bets (marina/rollout/judge/e_values.py) refutes, each at half of
    `alpha`: a confidence sequence. It is 1.7 times as wide as an interval for a single look.
    """
    if not trials:
        return 0.0, 1.0
    needed = math.log(2 / alpha)
    observed = successes / trials

    def edge(refuted: float, kept: float, bet: Callable[[float, float, float], Logs]) -> float:
        for _ in range(HALVINGS):
            middle = (refuted + kept) / 2
            if float(bet(successes, trials, middle)) >= needed:
                refuted = middle
            else:
                kept = middle
        return kept

    low = edge(1e-9, observed, above) if successes else 0.0
    high = edge(1 - 1e-9, observed, below) if successes < trials else 1.0
    return low, high


def mcnemar(worse: int, better: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (1947), that losses and gains are alike.

    Parameters
    ----------
    worse, better
        Pairs in which only the one, or only the other, was right. Pairs that agree say nothing here.
    """
    pairs = worse + better
    counts = np.arange(min(worse, better) + 1)
    log_ways = math.lgamma(pairs + 1) - _log_factorial(counts) - _log_factorial(pairs - counts)
    return min(1.0, 2 * float(np.exp(log_ways - pairs * math.log(2)).sum()))


def apart(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return how far two samples' distributions are apart: the Kolmogorov-Smirnov distance, from 0 to 1."""
    both = np.sort(np.concatenate([first, second]))
    shares = [np.searchsorted(np.sort(one), both, side="right") / len(one) for one in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


def _log_factorial(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([math.lgamma(count + 1) for count in counts.tolist()])
