"""Clients of two versions, compared: whether those of one fare worse, whatever clients are like.

The gateway draws a version for each client by a hash of its key, and of nothing else. So if it makes no difference
which version a client has, those of one are a sample of all, drawn without regard to how they fare. The evidence is
how improbable it would be that such a sample fares as badly: nothing is assumed of clients, of how alike or how many
they are, how often they ask, when, or how their requests hang together.
"""

import numpy as np
from numpy.typing import NDArray

from marina.rollout.judge.e_values import Logs

EDGE = 0.02
"""Scores are bounded by this: at most a rank counts ``log((1 + EDGE) / EDGE)``, which is 3.9."""

TINY = np.finfo(np.float64).tiny

TILTS = np.geomspace(0.05, 100.0, 40)


def behind(others: NDArray[np.float64], mine: NDArray[np.float64]) -> Logs:
    """Return evidence against "my clients are drawn from all clients without regard to how they fare".

    Parameters
    ----------
    others, mine
        How many of either version's clients there are in each class, the classes in order of how badly clients in
        them fare. ``[..., C]``

    Returns
    -------
    ndarray of float
        The negative logarithm of a p-value, 0 where one version has no clients.

    Notes
    -----
    A client's score grows with its rank u among all, from 0 to 1: ``-log(1 + EDGE - u)`` (Savage, 1956, but bounded),
    those of a class being alike. The mean of exp(t · sum of n scores drawn without replacement) is at most M(t)^n, M
    being the mean over all clients of exp(t · score) (Hoeffding, 1963, theorem 4), so that the sum reaches s with a
    probability of at most exp(-max over t of (t s - n log M(t))) (Chernoff, 1952). The others' sum is then as low, and
    is bounded likewise: of two bounds of one probability the lesser holds, which is theirs where they are few.
    """
    both = others + mine
    n, all_ = mine.sum(axis=-1), both.sum(axis=-1)
    share = both / np.maximum(all_, 1)[..., None]
    rank = np.cumsum(share, axis=-1) - share / 2
    score = -np.log(1 + EDGE - rank)
    found = np.maximum(_unlikely_sum(share, score, mine), _unlikely_sum(share, -score, others))
    return np.where((n > 0) & (n < all_), found, 0.0)


def _unlikely_sum(share: NDArray[np.float64], score: NDArray[np.float64], sample: NDArray[np.float64]) -> Logs:
    """Return how improbable it is, at least, that the scores of a sample add up to that much."""
    n = sample.sum(axis=-1)
    top = np.where(share > 0, score, -np.inf).max(axis=-1, initial=score.min(), keepdims=True)
    beyond = (sample * (score - top)).sum(axis=-1)
    found = np.zeros(n.shape)
    for tilt in TILTS:
        mean = (share * np.exp(np.minimum(tilt * (score - top), 0.0))).sum(axis=-1)
        found = np.maximum(found, tilt * beyond - n * np.log(np.maximum(mean, TINY)))
    return found


def losing(nets: NDArray[np.float64], clients: NDArray[np.float64]) -> float:
    """Return evidence against "a client is as likely to lose by the canary as to gain as much".

    Parameters
    ----------
    nets
        What clients lost, from -1 to 1. ``[C]``
    clients
        How many lost as much. ``[C]``

    Notes
    -----
    If it makes no difference which version is which, signs are tosses of a coin: the mean of exp(t · sum) is the
    product of cosh(t · net), and Chernoff's bound holds as above.
    """
    tilted = TILTS[:, None] * nets
    log_cosh = np.abs(tilted) + np.log1p(np.exp(-2 * np.abs(tilted))) - np.log(2)
    return max(0.0, float(((tilted - log_cosh) @ clients).max()))
