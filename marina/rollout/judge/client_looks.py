"""What a look at the clients is worth. There may be many, and each has a part of the error budget of its own."""

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marina.rollout.judge import client_ranks
from marina.rollout.judge.evidence import Crowd, Look

SPREAD = 6

NETS = 64
"""What clients lost in pairs is rounded to 64ths."""


def log_part(number: int) -> float:
    """Return which part of the error budget a look has, as a logarithm: all of them, to the last, make 1.

    That is 1/7, 3/28, 1/12, ...: c / ((n + c) (n + c + 1)), so that the twentieth has a fifteenth of the first's.
    """
    return math.log(SPREAD) - math.log(number + SPREAD) - math.log(number + SPREAD + 1)


def behind(look: Look | None) -> float:
    """Return evidence that the canary's clients fare worse than stable's."""
    return look.times * _rank(look.stable, look.canary) + log_part(look.number) if look else 0.0


def ahead(look: Look | None) -> float:
    """Return evidence that the canary's clients fare better than stable's."""
    return look.times * _rank(look.canary, look.stable) + log_part(look.number) if look else 0.0


def losing(look: Look | None, sign: int = 1) -> float:
    """Return evidence that more clients lose by the canary than gain; that more gain, with the sign of -1."""
    if look is None:
        return 0.0
    nets = np.array([sign * key / NETS for key, _ in look.canary.fared])
    clients = np.array([count for _, count in look.canary.fared], np.float64)
    return look.times * client_ranks.losing(nets, clients) + log_part(look.number)


@functools.lru_cache(maxsize=64)
def _rank(others: Crowd, mine: Crowd) -> float:
    classes = sorted({key for crowd in (others, mine) for key, _ in crowd.fared})
    return float(client_ranks.behind(_count(others, classes), _count(mine, classes))) if classes else 0.0


def _count(crowd: Crowd, classes: Sequence[int]) -> NDArray[np.float64]:
    counts = dict(crowd.fared)
    return np.array([counts.get(one, 0) for one in classes], np.float64)
