"""From which probability on an answer can be relied on: chosen by clips of people that a network was not fitted to."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.quality.intervals import upper_bound

RIGHT: Final = 0.9
"""Of the answers that are called confident, the share that is to be right: at most one in ten is wrong."""

Z: Final = 1.645
"""The one-sided 95 % point of the normal distribution. So even all right ones of fewer than 25 clips are not enough."""


class Chosen(NamedTuple):
    """A threshold, and what it does to the clips that it was chosen by.

    Attributes
    ----------
    confidence
        Answers at least as probable are given; more than 1 where no threshold is good enough.
    right
        The share of them that are right.
    answered
        The share of all clips that get one.
    """

    confidence: float
    right: float
    answered: float


def choose(
    probabilities: Sequence[float] | npt.NDArray[Any], correct: Sequence[bool] | npt.NDArray[Any], wanted: float = RIGHT
) -> Chosen:
    """Return the smallest threshold above which a wanted share of the answers is right, of clips to come, too.

    Selective classification by the largest probability (Geifman & El-Yaniv, 2017): good enough is a threshold whose
    share is at least the wanted one by Wilson's lower bound (1927), one-sided 95 % each. That holds for clips like
    these; the bound knows nothing of other people, nor that the best of several thresholds is taken.

    Parameters
    ----------
    probabilities
        Of each clip's most probable sign.
    correct
        Whether that is the clip's sign.
    wanted
        The share.

    Raises
    ------
    ValueError
        If there is no clip.
    """
    if not len(probabilities):
        raise ValueError("expected clips that are answered, got none")
    order = np.argsort(-np.asarray(probabilities, np.float64), kind="stable")
    ordered = np.asarray(probabilities, np.float64)[order]
    counts = np.arange(1, len(order) + 1)
    share = np.cumsum(np.asarray(correct, np.float64)[order]) / counts
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    good = np.flatnonzero((1 - upper_bound(1 - share, counts, Z) >= wanted) & last_of_equals)
    if not len(good):
        return Chosen(float("inf"), 0.0, 0.0)
    at = int(good[-1])
    return Chosen(float(ordered[at]), float(share[at]), (at + 1) / len(order))
