"""One model's detectors over all of its streams: bets, then learns from the batch how much such batches vary."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marina.monitoring import e_detector
from marina.monitoring.dispersion import Dispersion
from marina.monitoring.e_detector import MONTH_S, Batch

Floats = NDArray[np.float64]

LONGEST_S = 3600.0
"""A batch takes an hour of the month at most: time in which nothing came costs no power."""


@dataclass
class Detector:
    """The state of all streams; leading axes are simulated months.

    Attributes
    ----------
    limit : ndarray of float, shape (..., K)
        The largest mean that is no drift.
    state : ndarray of float, shape (..., K, STAKES)
        Logarithms of the Shiryaev-Roberts statistics.
    dispersion
        How much batch means vary.
    """

    limit: Floats
    state: Floats
    dispersion: Dispersion

    @staticmethod
    def start(limit: ArrayLike) -> "Detector":
        """Begin with nothing seen."""
        limits = np.asarray(limit, np.float64)
        return Detector(limits, e_detector.start(limits.shape), Dispersion.start(limits))

    def step(self, batch: Batch, elapsed_s: float, grouping: ArrayLike = 1.0) -> Floats:
        """Take a batch, once; return each stream's evidence, shape (..., K).

        Parameters
        ----------
        batch
            What came.
        elapsed_s
            Seconds since the batch before.
        grouping
            How much more this batch's requests are of the same clients than those of past batches: 1 or more.
        """
        months = min(max(elapsed_s, 1.0), LONGEST_S) / MONTH_S
        bets = e_detector.bet(batch, self.limit, self.dispersion.estimate() * np.maximum(grouping, 1.0))
        self.state = e_detector.advance(self.state, bets, months)
        self.dispersion.add(batch, self.limit)
        return e_detector.evidence(self.state)
