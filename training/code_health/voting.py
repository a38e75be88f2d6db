"""A fitted model of code health as a member of a vote, and the vote: what each answers, and how votes are weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.calibration import PlattScaling, fit_scaled_curve, log_odds, sigmoid
from training.code_health.estimators import Answers, Rows


@dataclass(frozen=True)
class Member:
    """A fitted model: from rows of its own features to one number each.

    Attributes
    ----------
    model
        Served name.
    estimator
        Fitted: a classifier of two classes, an isolation forest behind `SignedLog`, or a regressor.
    calibration
        For classifiers, from the estimator's probability to what is answered.
    """

    model: str
    estimator: Any
    calibration: PlattScaling | None = None

    def answer(self, rows: Rows) -> Answers:
        """Return P(second class), the score (higher is stranger) or the value (held between 0 and 1) of each row."""
        if hasattr(self.estimator, "predict_proba"):
            probability = self.estimator.predict_proba(rows)[:, 1:].astype(np.float64)
            return (self.calibration(probability) if self.calibration else probability)[:, 0]
        if hasattr(self.estimator, "score_samples"):
            return np.asarray(-self.estimator.score_samples(rows), np.float64)
        return np.clip(np.asarray(self.estimator.predict(rows), np.float64), 0.0, 1.0)

    def outputs(self, rows: Rows) -> dict[str, Answers]:
        """Return what its graph gives: ``probabilities`` [N, 2], ``score`` [N, 1] or ``value`` [N, 1]."""
        answer = self.answer(rows)[:, None]
        if hasattr(self.estimator, "predict_proba"):
            return {"probabilities": np.hstack([1 - answer, answer])}
        return {"score" if hasattr(self.estimator, "score_samples") else "value": answer}


@dataclass(frozen=True)
class VotingEnsemble:
    """A soft vote: each member's answer becomes a probability of the ensemble's own question, and the mean decides.

    Attributes
    ----------
    members
        In the order of the votes.
    columns
        Per member, the places of its features among the ensemble's.
    slope, intercept
        float64 [members]: a member's vote is ``sigmoid(slope * answer + intercept)`` (Platt, 1999).
    weights
        float64 [members], none negative, with sum 1.
    """

    members: tuple[Member, ...]
    columns: tuple[npt.NDArray[np.int64], ...]
    slope: Answers
    intercept: Answers
    weights: Answers
    model: str = "code_meta"

    def answers(self, rows: Rows) -> Answers:
        """Return every member's own answer, [N, members]."""
        return np.stack([one.answer(rows[:, its]) for one, its in zip(self.members, self.columns, strict=True)], 1)

    def answer(self, rows: Rows) -> Answers:
        """Return the mean vote of each row, [N]."""
        return self.mean(self.answers(rows))

    def mean(self, answers: Answers) -> Answers:
        """Return the mean vote [N] of members' answers [N, members]."""
        mean: Answers = sigmoid(answers * self.slope + self.intercept) @ self.weights
        return mean

    def outputs(self, rows: Rows) -> dict[str, Answers]:
        """Return what its graph gives: ``probabilities`` [N, 2] and ``members`` [N, members]."""
        answers = self.answers(rows)
        probability = self.mean(answers)[:, None]
        return {"probabilities": np.hstack([1 - probability, probability]), "members": answers}


def fit_ensemble(
    members: Sequence[Member], columns: Sequence[npt.NDArray[np.int64]], answers: Answers, target: Answers
) -> VotingEnsemble:
    """Learn how to put members' answers together.

    Parameters
    ----------
    members, columns
        As in `VotingEnsemble`.
    answers
        float64 [N, members], by fits like the members' to rows that those fits have not seen.
    target
        [N], 0 or 1.
    """
    return VotingEnsemble(tuple(members), tuple(columns), *weight_votes(answers, target))


def weight_votes(answers: Answers, target: Answers) -> tuple[Answers, Answers, Answers]:
    """Learn each member's curve, and the weights of the vote with the least cross entropy.

    Parameters
    ----------
    answers
        float64 [N, members], to rows that no member was fitted to.
    target
        [N], 0 or 1.

    Returns
    -------
    slope, intercept, weights
        As in `VotingEnsemble`.
    """
    from scipy.optimize import minimize

    slope, intercept = np.array([fit_scaled_curve(answer, target) for answer in answers.T]).T
    votes = sigmoid(answers * slope + intercept)
    most = np.where(slope > 0, 1.0, 0.0)  # whose answers point the wrong way has no vote
    most = most if most.any() else np.ones(len(slope))

    def cost(weights: Answers) -> float:
        mean = np.clip(votes @ weights, 1e-6, 1 - 1e-6)
        return float(-np.mean(target * np.log(mean) + (1 - target) * np.log(1 - mean)))

    found = minimize(
        cost,
        most / most.sum(),
        bounds=[(0, one) for one in most],
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        method="SLSQP",
    )
    weights = np.clip(np.round(found.x, 4), 0, 1)
    return slope, intercept, weights / weights.sum()


def fit_calibration(probability: Answers, target: Answers) -> PlattScaling:
    """Return a classifier's calibration (Platt, 1999) by probabilities of rows it was not fitted to, [N] each."""
    slope, intercept = fit_scaled_curve(log_odds(probability), target)
    return PlattScaling(np.array([slope]), np.array([intercept]))
