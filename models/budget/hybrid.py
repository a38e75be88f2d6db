"""Who answers: a rule that is sure, else the model where it is sure, else the likelier of the two, marked as unsure.

Arrays in, arrays out; the same decision in training, where its thresholds are chosen, and in serving.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SOURCES: Final = ("rule", "model", "fallback")
RULE, MODEL, FALLBACK = range(len(SOURCES))

NEVER_SURE: Final = 2.0
"""Above any probability: the threshold of a model that is never sure."""


@dataclass(frozen=True)
class Decisions:
    """Of N transactions: position of the label int64 [N], how likely it is float64 [N], and who said so int64 [N]."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    sources: NDArray[np.int64]

    @property
    def sure(self) -> NDArray[np.bool_]:
        """Whether a rule or the model was sure."""
        sure: NDArray[np.bool_] = self.sources != FALLBACK
        return sure


def decide(
    said: NDArray[np.int64],
    confidence: NDArray[np.float64],
    probabilities: NDArray[Any],
    nameless: NDArray[np.bool_],
    sure_rule: float,
    sure_model: float,
) -> Decisions:
    """Decide for every transaction.

    Parameters
    ----------
    said : ndarray of int64, shape (N,)
        Label of the best rule, -1 where none fired.
    confidence : ndarray of float64, shape (N,)
        That rule's; not read where none fired.
    probabilities : ndarray of float, shape (N, C)
        The model's.
    nameless : ndarray of bool, shape (N,)
        Where a label names no one (`models.budget.labels.find_nameless`): there the model is never sure.
    sure_rule, sure_model
        From where on a rule's confidence, and the model's highest probability, are enough.
    """
    likeliest = probabilities.argmax(axis=1).astype(np.int64)
    highest = np.take_along_axis(probabilities, likeliest[:, None], axis=1)[:, 0].astype(np.float64)
    trusted = np.where(said >= 0, confidence, -1.0)
    by_rule = trusted >= sure_rule
    by_model = ~by_rule & ~nameless & (highest >= sure_model)
    rule_answers = by_rule | (~by_model & (trusted > highest))
    return Decisions(
        labels=np.where(rule_answers, said, likeliest),
        probabilities=np.where(rule_answers, trusted, highest),
        sources=np.where(by_rule, RULE, np.where(by_model, MODEL, FALLBACK)).astype(np.int64),
    )
