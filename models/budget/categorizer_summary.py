"""What a transaction is like, in numbers that say nothing of whom it was paid to."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.budget.labels import Parsed, find_nameless
from models.known_words import KnownWords

SUMMARY: Final = ("amount", "operation", "characters", "words", "known", "nameless")
"""EUR, negative when spent; place of the kind of booking among `models.budget.labels.OPERATIONS`; characters and
different words of the cleaned label, and the share of these that training has met; whether the label names no one (0 or
1). A bank that writes its labels in another way moves all but the first."""


def summarise(labels: Parsed, amounts: NDArray[Any], words: KnownWords) -> NDArray[np.float32]:
    """Summarise transactions.

    Parameters
    ----------
    labels : Parsed
        N of them.
    amounts : ndarray of float, shape (N,)
    words
        Those of the evaluated fit's training.

    Returns
    -------
    ndarray of float32, shape (N, 6)
        In the order of `SUMMARY`; of a label without a word nothing is known (NaN).
    """
    counts, known = words.count(labels.texts)
    lengths = np.array([*map(len, labels.texts)], np.int64)
    columns = (amounts, labels.operations, lengths, counts, known, find_nameless(labels.texts))
    return np.stack(columns, axis=1).astype(np.float32)
