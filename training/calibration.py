"""Probabilities that mean what they say: Platt scaling of single probabilities, vector scaling of classes.

Platt scaling (1999) puts a probability's log-odds through a logistic curve. Vector scaling is the same for more than
two classes (Guo et al., On calibration of modern neural networks, 2017): each class's score gets a slope and an
intercept of its own, then a softmax. What is linear in a model's input stays so, and costs nothing to serve. Where one
event includes another, `Nesting` lets the first be no less probable than the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar

from models.probabilities import softmax

RIDGE = 2.0
"""How strongly slopes are held to a common one and intercepts to 0, in rows: some classes are rare."""

LEAST_PROBABILITY = 1e-3
"""Probabilities are held this far from 0 and 1 before they are calibrated: a log-odds has to be finite."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class VectorScaling:
    """Of C classes: `slope` and `intercept`, float64 [C]."""

    slope: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, scores: npt.NDArray[np.floating[Any]], target: npt.NDArray[np.int64]) -> VectorScaling:
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

    @classmethod
    def fit_temperature(cls, scores: npt.NDArray[np.floating[Any]], target: npt.NDArray[np.int64]) -> VectorScaling:
        """Fit one slope for all classes and no intercepts (temperature scaling; Guo et al., 2017).

        Parameters
        ----------
        scores, target
            As of `fit`.
        """
        rows, wide = np.arange(len(target)), scores.astype(np.float64)

        def loss(log_slope: float) -> float:
            return -float(np.log(np.maximum(softmax(wide * np.exp(log_slope))[rows, target], 1e-12)).mean())

        slope = float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))
        return cls(np.full(scores.shape[1], slope), np.zeros(scores.shape[1]))

    def logits(self, scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Return calibrated logits [N, C]."""
        return np.asarray(scores * self.slope + self.intercept, np.float64)

    def __call__(self, scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities [N, C]."""
        return softmax(self.logits(scores))


@dataclass(frozen=True)
class PlattScaling:
    """Per target, the logistic curve that a probability's log-odds is put through (Platt, 1999).

    Attributes
    ----------
    slope, intercept
        float64 [targets]: the calibrated log-odds is ``slope * log-odds + intercept``.
    """

    slope: Floats
    intercept: Floats

    @classmethod
    def fit(cls, probabilities: Floats, happened: npt.NDArray[np.bool_]) -> PlattScaling:
        """Fit each target's curve; a target that always or never happened is left as it is.

        Parameters
        ----------
        probabilities
            float64 [N, targets], of rows that the model was not fitted on.
        happened
            bool [N, targets].
        """
        odds = log_odds(probabilities)
        slope, intercept = np.ones(odds.shape[1]), np.zeros(odds.shape[1])
        for target in range(odds.shape[1]):
            if 0 < happened[:, target].sum() < len(happened):
                steepness, intercept[target] = fit_curve(odds[:, target], happened[:, target])
                # a curve that falls would call the likely unlikely: then the base rate is all there is to say
                slope[target] = max(0.0, steepness)
        return cls(slope, intercept)

    def __call__(self, probabilities: Floats) -> Floats:
        """Return calibrated probabilities [N, targets]."""
        return sigmoid(log_odds(probabilities) * self.slope + self.intercept)


@dataclass(frozen=True)
class Nesting:
    """Lets probabilities of nested events rise with the event: isotonic regression of each row (Barlow et al., 1972).

    The nearest rising probabilities are means over neighbours, found by the min-max formula: of every event, the
    largest over all earlier starts of the least over all later ends of the mean from start to end. The truth of nested
    events rises, too, so they are at least as near to it as what they are made of: the squared error never grows.

    Attributes
    ----------
    following
        Per length from 2 on, int64 [targets]: which target is that many places further, or any where there is none.
    choice
        int64 [targets, starts, ends]: positions among the means of all lengths, [lengths * targets].
    """

    following: tuple[npt.NDArray[np.int64], ...]
    choice: npt.NDArray[np.int64]

    @classmethod
    def of(cls, groups: Sequence[Sequence[int]], targets: int) -> Nesting:
        """Prepare for groups of targets, each from the smallest event to the one that includes all others."""
        longest = max(map(len, groups))
        following = np.tile(np.arange(targets), (longest - 1, 1))
        choice = np.tile(np.arange(targets)[:, None, None], (1, longest, longest))  # alone, a target is its own mean
        for group in groups:
            for length in range(2, len(group) + 1):
                following[length - 2, group[: 1 - length]] = group[length - 1 :]
            for place, target in enumerate(group):
                for start in range(longest):
                    for end in range(longest):
                        first, last = min(start, place), max(min(end, len(group) - 1), place)
                        choice[target, start, end] = (last - first) * targets + group[first]
        return cls(tuple(following), choice)

    def __call__(self, probabilities: Floats) -> Floats:
        """Return the nearest probabilities that rise within each group, [N, targets]."""
        total, means = probabilities, [probabilities]
        for length, further in enumerate(self.following, 2):
            total = total + probabilities[:, further]
            means.append(total * (1 / length))
        rising: Floats = np.concatenate(means, axis=1)[:, self.choice].min(axis=3).max(axis=2)
        return rising


def fit_curve(log_odds: Floats, happened: npt.NDArray[Any]) -> tuple[float, float]:
    """Return slope and intercept of the logistic curve from log-odds [N] to what happened, 0 or 1 [N]."""
    from sklearn.linear_model import LogisticRegression

    curve = LogisticRegression(C=100.0).fit(log_odds[:, None], happened)
    return float(curve.coef_[0, 0]), float(curve.intercept_[0])


def fit_scaled_curve(scores: Floats, happened: npt.NDArray[Any]) -> tuple[float, float]:
    """Return slope and intercept as `fit_curve`, of scores [N] in any unit: they are standardised for the fit."""
    spread = float(scores.std()) or 1.0
    steepness, height = fit_curve((scores - scores.mean()) / spread, happened)
    slope = steepness / spread
    return slope, height - slope * float(scores.mean())


def log_odds(probabilities: Floats) -> Floats:
    """Return the log-odds that a `PlattScaling` reads, of probabilities held away from 0 and 1."""
    held = np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    odds: Floats = np.log(held / (1 - held))
    return odds


def sigmoid(logits: npt.NDArray[Any]) -> Floats:
    """Return ``1 / (1 + exp(-x))``, in double precision."""
    probabilities: Floats = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return probabilities
