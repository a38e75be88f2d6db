"""From which probability on the model is sure: chosen for a precision at merchants and of owners it has not met.

::

    owners (users, cards; months where there are few)  x  merchants, each in three parts
    each part of both is answered by a model that has seen neither ─> probability, right or not ─> threshold

At merchants that were met in training a model is right more often than it says, at others less; only the others can
show what a bank's next label will meet. Rows that a sure rule answers, and labels that name no one, are left out: of
those the model is not asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.budget.hybrid import NEVER_SURE
from training.data import splits
from training.data.splits import Indices
from training.evaluation.slices import wilson

PARTS: Final = 3
"""Of merchants and of owners."""

LEVELS: Final = np.round(np.arange(0.99, 0.29, -0.01), 2)
"""Thresholds that are tried, from the strictest down."""

Names = npt.NDArray[np.str_]
Floats = npt.NDArray[np.float64]
Answers = Callable[[Indices, Indices], Floats]
"""Rows to learn from, and rows to answer, to the logits of the latter, [N, labels]."""


@dataclass(frozen=True)
class Sureness:
    """The chosen threshold, and what it was chosen by.

    Attributes
    ----------
    threshold
        `NEVER_SURE` where no threshold keeps the promise.
    promised
        The precision that was asked for.
    precision, low
        Of the model's sure answers at merchants and of owners not met, a mean over merchants, and the lower end of its
        95 % interval.
    coverage
        Share of such transactions that the model is sure of.
    rows
        How many of those there were.
    """

    threshold: float
    promised: float
    precision: float
    low: float
    coverage: float
    rows: int

    def __str__(self) -> str:
        """Return it in a line."""
        asked = f"precision {self.promised:.0%} at merchants and of owners not met in training"
        if self.threshold == NEVER_SURE:
            return f"{asked}: no threshold is shown to keep it by {self.rows} transactions; the model is never sure"
        return (
            f"{asked}: sure from {self.threshold:.2f} on, right {self.precision:.3f} (at least {self.low:.3f}, 95 %), "
            f"which is {self.coverage:.1%} of {self.rows} such transactions"
        )


def answer_unmet(
    answers: Answers, merchants: Names, owners: Names, asked: npt.NDArray[np.bool_], count: int, seed: int = 0
) -> tuple[Indices, Floats]:
    """Let models answer rows of merchants and owners that they have not met.

    Parameters
    ----------
    answers
        Learns and answers.
    merchants, owners
        Who was paid, and who paid, str [N].
    asked
        Which rows are answered: what only the model can answer, with labels that are known for certain, [N].
    count
        Of labels.
    seed
        Divides merchants and owners.

    Returns
    -------
    rows, logits
        Positions of those answered, and [answered, labels].
    """
    parts = min(PARTS, len(np.unique(merchants)), len(np.unique(owners)))
    rows, logits = [np.zeros(0, np.int64)], [np.zeros((0, count))]
    if parts > 1:
        pairs = itertools.product(splits.folds(merchants, parts, seed), splits.folds(owners, parts, seed))
        for (learn, test), (others, mine) in pairs:
            train, held = np.intersect1d(learn, others), np.intersect1d(test, mine)
            held = held[asked[held]]
            if len(train) and len(held):
                rows.append(held)
                logits.append(answers(train, held))
    return np.concatenate(rows), np.concatenate(logits)


def choose(probabilities: Floats, target: npt.NDArray[np.int64], merchants: Names, promised: float) -> Sureness:
    """Choose the lowest threshold whose precision is shown to be at least what is promised.

    Each merchant counts once, however many of its rows there are: those of one are right or wrong together, and the
    next label is of another. Thresholds are tried from the strictest down until one fails, so that many tries do not
    make one pass by luck (fixed-sequence testing; Angelopoulos et al., Learn then test, 2021).

    Parameters
    ----------
    probabilities
        Of rows of `answer_unmet`, as they are served, [N, labels].
    target
        Their labels, int64 [N].
    merchants
        Who was paid, str [N].
    promised
        The precision, above 0 and below 1.
    """
    highest, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == target
    chosen = Sureness(NEVER_SURE, promised, 0.0, 0.0, 0.0, len(highest))
    # So many right answers in a row are needed to show anything at all.
    least = next((count for count in range(1, 1_000_000) if wilson(1.0, count)[0] >= promised), None)
    if least is None:
        return chosen
    _, which = np.unique(merchants, return_inverse=True)
    for level in LEVELS.tolist():
        sure = highest >= level
        rows = np.bincount(which[sure])
        precision = np.bincount(which[sure], right[sure])[rows > 0] / rows[rows > 0]
        if len(precision) < least:
            continue
        low, _ = wilson(float(precision.mean()), len(precision))
        if low < promised:
            break
        chosen = Sureness(level, promised, float(precision.mean()), low, float(sure.mean()), len(highest))
    return chosen
