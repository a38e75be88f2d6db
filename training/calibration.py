"""Probabilities that mean what they say: each class's score gets a slope and an intercept of its own, then a softmax.

Platt's sigmoid (1999) for more than two classes, known as vector scaling (Guo et al., On calibration of modern neural
networks, 2017). What a linear model says stays linear in its input, so it costs nothing to serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from handlers.base import softmax

RIDGE = 2.0
"""How strongly slopes are held to a common one and intercepts to 0, in rows: some classes are rare."""


@dataclass(frozen=True)
class Calibration:
    """Of C classes: `slope` and `intercept`, float64 [C]."""

    slope: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, scores: npt.NDArray[np.floating[Any]], target: npt.NDArray[np.int64]) -> Calibration:
        """Fit by penalised maximum likelihood.

        Parameters
        ----------
        scores
            Of rows that the model was not fitted on, [N, C]: logits, or any numbers of which higher means likelier.
        target
            Their classes, int64 [N].
        """
        count, classes = scores.shape
        wide = scores.astype(np.float64)
        true = np.zeros((count, classes))
        true[np.arange(count), target] = 1

        def loss(free: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            common, slope, intercept = free[0], free[1 : 1 + classes], free[1 + classes :]
            raw = wide * (common + slope) + intercept
            logs = raw - raw.max(axis=1, keepdims=True)
            logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
            wrong = np.exp(logs) - true
            slopes = (wrong * wide).sum(axis=0)
            penalty = RIDGE * float(slope @ slope + intercept @ intercept)
            gradient = np.concatenate(
                [[slopes.sum()], slopes + 2 * RIDGE * slope, wrong.sum(axis=0) + 2 * RIDGE * intercept]
            )
            return (penalty - float((true * logs).sum())) / count, gradient / count

        start = np.concatenate([[1.0], np.zeros(2 * classes)])
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
        return cls(found[0] + found[1 : 1 + classes], found[1 + classes :])

    def logits(self, scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Return calibrated logits [N, C]."""
        return np.asarray(scores * self.slope + self.intercept, np.float64)

    def __call__(self, scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities [N, C]."""
        return softmax(self.logits(scores))
