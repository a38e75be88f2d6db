"""Alarms with a written budget: mixtures of Shiryaev-Roberts e-detectors over streams of numbers from 0 to 1.

A stream is one thing that is watched, such as the share of a label. Its null hypothesis: in each batch, given what came
before, its mean is at most a limit. Each stake of `Stakes` turns a batch into an e-value: a number that is never
expected to exceed 1 while that is so. A detector collects them as ``(R + w) * e``, where ``w`` is the batch's part of a
month: after a month R is expected to be 1 at most, whatever the streams have to do with each other (Shin, Ramdas &
Rinaldo, "E-detectors", 2022). With K streams an alarm is what `moved_streams` names at the threshold K / B: in a month
in which no stream has moved it names one with probability at most B. docs/MONITORING.md derives all of it.

Everything is in natural logarithms, and broadcasts: leading axes may be simulated months, the last is streams.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MONTH_S = 30 * 86_400.0

STEPS = np.array([0.15, 0.3, 0.6, 1.2, 2.4])
"""How far alternatives lie above the limit, in log-odds: from a share of 0.10 these are 0.114 to 0.55."""

FRACTIONS = np.array([0.1, 0.3, 0.9])
"""Parts of its money that a cautious bet puts on one batch."""

STAKES = len(STEPS) + len(FRACTIONS)

LOG_SHARES = np.log(np.concatenate([np.full(len(STEPS), 0.85 / len(STEPS)), np.full(len(FRACTIONS), 0.15 / 3)]))
"""Which part of a stream's money each stake has, as a logarithm."""

HIGHEST = 1 - 1e-6


@dataclass(frozen=True)
class Batch:
    """What one batch says of each stream.

    Attributes
    ----------
    count : ndarray of float, shape (..., K)
        How many numbers came; 0 where none did.
    mean : ndarray of float, shape (..., K)
        Their mean, from 0 to 1; whatever it is where none came.
    """

    count: Floats
    mean: Floats


def start(shape: tuple[int, ...]) -> Floats:
    """Return detectors that have seen nothing: logarithms of 0, shape (..., K, STAKES)."""
    return np.full((*shape, STAKES), -np.inf)


def bet(batch: Batch, limit: ArrayLike, dispersion: ArrayLike) -> Floats:
    """Return the logarithm of each stake's e-value of a batch.

    Parameters
    ----------
    batch
        What came.
    limit : array_like of float, shape (K,) or (..., K)
        The largest mean of the null hypothesis.
    dispersion : array_like of float, shape (..., K)
        How many times larger than a binomial one a batch mean's variance is, 1 or more, as estimated *before* the
        batch; infinite where it is not known yet.

    Returns
    -------
    ndarray of float, shape (..., K, STAKES)
        First those that count requests: the likelihood ratio of a higher mean against the limit, to the power
        1 / dispersion. It is an e-value where the batch consists of groups of that many equal numbers, and of anything
        less dependent. Then the cautious ones, ``1 + s (mean - limit)``: e-values however the numbers of a batch
        depend on each other.
    """
    m = np.clip(np.asarray(limit, np.float64), 1e-9, HIGHEST)
    odds = np.log(m) - np.log1p(-m)
    other = 1 / (1 + np.exp(-(odds[..., None] + STEPS)))
    rise, fall = np.log(other) - np.log(m)[..., None], np.log1p(-other) - np.log1p(-m)[..., None]
    mean = np.where(batch.count > 0, batch.mean, m)
    weight = (batch.count / np.asarray(dispersion, np.float64))[..., None]
    counted = weight * (fall + mean[..., None] * (rise - fall))
    cautious = np.log1p(FRACTIONS / m[..., None] * (mean - m)[..., None])
    cautious = np.where((batch.count > 0)[..., None], cautious, 0.0)
    shape = np.broadcast_shapes(counted.shape[:-1], cautious.shape[:-1])
    both = (np.broadcast_to(counted, (*shape, len(STEPS))), np.broadcast_to(cautious, (*shape, len(FRACTIONS))))
    return np.concatenate(both, axis=-1)


def advance(state: Floats, bets: Floats, months: ArrayLike) -> Floats:
    """Return the detectors after a batch.

    Parameters
    ----------
    state : ndarray of float, shape (..., K, STAKES)
        Before it.
    bets : ndarray of float, shape (..., K, STAKES)
        By `bet`.
    months : array_like of float
        Which part of a month the batch took: a predictable weight. Over a month they come to 1 at most.
    """
    return np.logaddexp(state, np.log(np.asarray(months, np.float64))) + bets


def evidence(state: Floats) -> Floats:
    """Return each stream's evidence, the logarithm of its mixture over stakes, shape (..., K)."""
    weighed = state + LOG_SHARES
    most = weighed.max(axis=-1)
    with np.errstate(invalid="ignore"):
        total = most + np.log(np.exp(weighed - most[..., None]).sum(axis=-1))
    return np.where(np.isneginf(most), -np.inf, total)


def needed(streams: int, budget: float) -> float:
    """Return the evidence at which one stream alone is an alarm: log(K / B)."""
    return float(np.log(streams / budget))


def moved_streams(found: Floats, budget: float) -> NDArray[np.bool_]:
    """Say which streams have moved, shape (..., K): the procedure of Benjamini & Hochberg on e-values (e-d-BH).

    Parameters
    ----------
    found : ndarray of float, shape (..., K)
        By `evidence`.
    budget
        B, the allowed probability of a false alarm a month.

    Notes
    -----
    The k strongest are named if each has at least log(K / (B k)), for the largest such k (Wang & Ramdas, 2022; for
    detectors Dandapanthula & Ramdas, 2025). Where any is named, the mean of all R is at least 1 / B, and its
    expectation after a month without drift is 1 at most: by Markov's (Ville's) inequality this has probability at
    most B.
    """
    count = found.shape[-1]
    order = np.argsort(-found, axis=-1, kind="stable")
    ordered = np.take_along_axis(found, order, axis=-1)
    rank = np.arange(1, count + 1)
    enough = ordered >= needed(count, budget) - np.log(rank)
    named = np.where(enough, rank, 0).max(axis=-1, keepdims=True)
    moved = np.zeros(found.shape, bool)
    np.put_along_axis(moved, order, rank <= named, axis=-1)
    return moved
