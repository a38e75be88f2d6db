"""From logits to probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities along the last axis, in double precision.

    Parameters
    ----------
    logits : ndarray of float, shape (..., classes)
    """
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities
