"""How much more batch means vary than those of independent requests would: what bets of a batch are divided by.

Clients repeat themselves, come in bursts, and hours resemble each other. The variance of a batch's mean is then a
multiple, the dispersion, of the binomial one: the design effect of survey sampling (Kish, 1965), and quasi-likelihood's
scale (McCullagh & Nelder, 1989). It is estimated from past batches alone, in blocks of 1, 2, 4, ... batches, so that
what one batch has in common with the next counts too (batch means; Flegal & Jones, 2010), and the largest of these
counts. A block that is far out moves it little, so that drift does not excuse itself.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marina.monitoring.e_detector import Batch

Floats = NDArray[np.float64]

SCALES = np.array([1, 2, 4, 8, 16, 32])
WARM_UP = 24
"""Batches until there is an estimate; a day, where a batch is an hour."""

MEMORY = 500
"""Blocks after which old ones begin to be forgotten."""

PRIOR = 4.0
"""This many blocks of dispersion 1 are taken as seen before the first."""

FAR = 6.0
"""A block counts as so many times the present estimate at most, once there is one."""

MARGIN = 1.2
"""The estimate is taken for so much more than it is."""


@dataclass
class Dispersion:
    """The estimate of streams, and what it is computed from; leading axes are simulated months.

    Attributes
    ----------
    batches : ndarray of float, shape (..., K)
        How many have come with something for the stream.
    mean : ndarray of float, shape (..., K)
        The running mean.
    deviation, variance : ndarray of float, shape (..., K, scales)
        Of the block that is under way: its sum's deviation from what the mean lets expect, and the binomial variance.
    filled, blocks : ndarray of float, shape (..., K, scales)
        How many batches are in that block, and how many blocks came before.
    ratio : ndarray of float, shape (..., K, scales)
        Mean squared deviation over variance.
    """

    batches: Floats
    mean: Floats
    deviation: Floats
    variance: Floats
    filled: Floats
    blocks: Floats
    ratio: Floats

    @staticmethod
    def start(limit: ArrayLike) -> "Dispersion":
        """Begin with nothing seen; `limit` has the shape of the streams, (..., K)."""
        one = np.zeros(np.shape(limit))
        many = np.zeros((*one.shape, len(SCALES)))
        return Dispersion(one, one.copy(), many, many.copy(), many.copy(), many.copy(), np.ones_like(many))

    def estimate(self) -> Floats:
        """Return the dispersion, shape (..., K): 1 or more, infinite until `WARM_UP` batches have come."""
        # Few blocks may vary much by chance: what is left is what they show.
        sure = 1 - np.sqrt(2 / (self.blocks + PRIOR))
        sure[..., 0] = 1.0
        found = np.maximum(1.0, MARGIN * (self.ratio * sure).max(axis=-1))
        return np.where(self.batches >= WARM_UP, found, np.inf)

    def add(self, batch: Batch, limit: ArrayLike) -> None:
        """Take a batch into account, after it has been bet on."""
        came = batch.count > 0
        mean = np.where(came, batch.mean, self.mean)
        known = np.where(self.batches > 0, self.mean, mean)
        share = np.clip(known, np.asarray(limit, np.float64) / 4, 0.75)
        self.deviation += np.where(came, batch.count * (mean - known), 0.0)[..., None]
        self.variance += np.where(came, batch.count * share * (1 - share), 0.0)[..., None]
        self.filled += came[..., None]
        full = self.filled >= SCALES
        with np.errstate(invalid="ignore", divide="ignore"):
            squared = np.where(full, self.deviation**2 / self.variance, 0.0)
        early = self.batches[..., None] < WARM_UP
        squared = np.where(early, squared, np.minimum(squared, FAR * np.maximum(self.ratio, 1.0)))
        step = 1 / (np.minimum(self.blocks, MEMORY) + PRIOR + 1)
        self.ratio += np.where(full, (squared - self.ratio) * step, 0.0)
        self.blocks += full
        for partial in (self.deviation, self.variance, self.filled):
            partial[full] = 0.0
        self.batches = self.batches + came
        self.mean = np.where(came, known + (mean - known) / np.minimum(np.maximum(self.batches, 1), MEMORY), self.mean)
