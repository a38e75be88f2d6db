"""Probabilities that mean what they say: each category's logit gets its own slope and intercept.

Platt's sigmoid (1999) for more than two classes, where a softmax takes the sigmoid's place: vector scaling (Guo et al.,
On calibration of modern neural networks, 2017). A linear model stays linear, so it costs nothing to serve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from training.budget_estimators import softmax

RIDGE = 2.0
"""How strongly slopes are held to a common one and intercepts to 0, in rows: some categories are rare."""


@dataclass(frozen=True)
class Calibration:
    """Of C categories: `slope` and `intercept`, float64 [C]."""

    slope: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, logits: npt.NDArray[np.floating], target: npt.NDArray[np.int64]) -> Calibration:
        """Fit by penalised maximum likelihood.

        Parameters
        ----------
        logits
            Of rows that the model was not fitted on, [N, C].
        target
            Their categories, int64 [N].
        """
        count, classes = logits.shape
        wide = logits.astype(np.float64)
        once = np.zeros((count, classes))
        once[np.arange(count), target] = 1

        def loss(free: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            common, slope, intercept = free[0], free[1 : 1 + classes], free[1 + classes :]
            raw = wide * (common + slope) + intercept
            shifted = raw - raw.max(axis=1, keepdims=True)
            normal = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            wrong = np.exp(shifted - normal) - once
            penalty = RIDGE * float(slope @ slope + intercept @ intercept)
            slopes = (wrong * wide).sum(axis=0)
            gradient = np.concatenate(
                [[slopes.sum()], slopes + 2 * RIDGE * slope, wrong.sum(axis=0) + 2 * RIDGE * intercept]
            )
            return float(-(once * (shifted - normal)).sum() + penalty) / count, gradient / count

        start = np.concatenate([[1.0], np.zeros(2 * classes)])
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
        return cls(found[0] + found[1 : 1 + classes], found[1 + classes :])

    def __call__(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities [N, C]."""
        return softmax(logits * self.slope + self.intercept)
