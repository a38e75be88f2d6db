"""Active learning: which clips to have labelled next.

Uncertainty sampling (Settles, Active Learning Literature Survey, 2009, section 3.1) asks for the clips of which a
network is least certain: by the entropy of all its probabilities, or by how little the first sign is ahead of the
second. Drawing at random is what both have to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.data.splits import Indices

Probabilities = npt.NDArray[np.floating[Any]]
Scores = npt.NDArray[np.float64]


def entropy(probabilities: Probabilities, rng: np.random.Generator) -> Scores:
    """Return the entropy of each row, in units of that of knowing nothing: 0 is certain, 1 is knowing nothing."""
    p = np.asarray(probabilities, np.float64)
    terms = -p * np.log(np.where(p > 0, p, 1.0))
    return np.asarray(terms.sum(1) / np.log(p.shape[1]))


def margin(probabilities: Probabilities, rng: np.random.Generator) -> Scores:
    """Return 1 less how far the first sign is ahead of the second: 0 is certain, 1 a tie."""
    second, first = np.sort(np.asarray(probabilities, np.float64), axis=1)[:, -2:].T
    return np.asarray(1.0 - (first - second))


def random(probabilities: Probabilities, rng: np.random.Generator) -> Scores:
    """Return chance, whatever the network thinks."""
    return rng.random(len(probabilities))


STRATEGIES: Final[Mapping[str, Callable[[Probabilities, np.random.Generator], Scores]]] = {
    "random": random,
    "entropy": entropy,
    "margin": margin,
}
"""From probabilities [N, signs] and a generator to scores [N]: the highest is asked for first."""


def highest(scores: Scores, count: int) -> Indices:
    """Return the positions of the `count` highest scores, the highest first; equal scores in their own order."""
    return np.argsort(-scores, kind="stable")[:count].astype(np.int64)
