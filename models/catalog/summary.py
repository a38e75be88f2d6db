"""What a product's text is like, in numbers that say nothing of what it says."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.known_words import KnownWords

SUMMARY: Final = ("characters", "words", "known", "described", "capitals", "digits", "beyond_ascii")
"""Characters that are read; different words, and the share of them that training has met (another language, or other
goods, have few); whether there is a description (0 or 1); shares of the characters that are capitals A to Z, digits 0
to 9, and none of ASCII (accents, other scripts)."""


def summarise(texts: Sequence[str], described: Sequence[bool], words: KnownWords) -> NDArray[np.float32]:
    """Summarise products.

    Parameters
    ----------
    texts : sequence of str, length N
        As `models.catalog.cleaning.whole` gives them, none of them empty.
    described : sequence of bool, length N
        Which of them have a description that is not empty.
    words
        Those of the evaluated fit's training.

    Returns
    -------
    ndarray of float32, shape (N, 7)
        In the order of `SUMMARY`; of a text without a word nothing is known (NaN).
    """
    lengths = np.array([*map(len, texts)], np.int64)
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = np.stack([(codes - 65) < 26, (codes - 48) < 10, codes >= 128])  # below zero is far above, in uint32
    shares = np.add.reduceat(kinds, np.cumsum(lengths) - lengths, axis=1, dtype=np.int64) / lengths
    counts, known = words.count(texts)
    return np.stack([lengths, counts, known, np.array(described), *shares], axis=1).astype(np.float32)
