"""Which words a model has observed: what share of a text's words is known says how far its vocabulary has moved.

The words are those of the texts that the evaluated fit was trained on, also where what serves was fitted to more: so
held-out texts say how much of a new text is usually known. A word is a bit of a table, by its hash (Bloom, 1970, with
one hash): of words never observed, the share of set bits passes for known.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.text import Hashing, hashed

SALT = 5


@dataclass(frozen=True)
class KnownWords:
    """Words that were observed.

    Attributes
    ----------
    bits : ndarray of uint8, shape (buckets / 8,)
        A power of two; bit ``n % 8`` of byte ``n // 8`` says whether a word of bucket n was observed.
    """

    bits: NDArray[np.uint8]

    @classmethod
    def fit(cls, texts: Sequence[str], buckets: int = 1 << 17) -> "KnownWords":
        """Learn the words of texts; `buckets`, a power of two, should be several times as many as different words."""
        observed = np.zeros(buckets, np.bool_)
        observed[hashed(texts, _hashing(buckets))[1]] = True
        return cls(np.packbits(observed, bitorder="little"))

    @classmethod
    def from_text(cls, text: str) -> "KnownWords":
        """Read what `to_text` wrote.

        Raises
        ------
        ValueError
            If it is no such text.
        """
        known = cls(np.frombuffer(base64.b64decode(text, validate=True), np.uint8))
        _hashing(8 * len(known.bits))  # a power of two
        return known

    def to_text(self) -> str:
        """Return the words' bits in base64, to be kept in JSON."""
        return base64.b64encode(self.bits.tobytes()).decode("ascii")

    @cached_property
    def _how(self) -> Hashing:
        return _hashing(8 * len(self.bits))

    def count(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Count the different words of texts.

        Parameters
        ----------
        texts : sequence of str, length N

        Returns
        -------
        words : ndarray of int64, shape (N,)
            How many different ones each has; case and accents make no difference.
        known : ndarray of float32, shape (N,)
            Share of them that was observed; NaN of none.
        """
        offsets, buckets, _ = hashed(texts, self._how)
        observed = self.bits[buckets >> 3] >> (buckets & 7).astype(np.uint8) & 1
        words = np.diff(offsets)
        before = np.concatenate([[0], np.cumsum(observed, dtype=np.int64)])
        share = np.full(len(words), np.nan, np.float32)
        np.divide(before[offsets[1:]] - before[offsets[:-1]], words, out=share, where=words > 0, casting="unsafe")
        return words, share


def _hashing(buckets: int) -> Hashing:
    return Hashing(buckets, word=(1, 1), char=(0, 0), salt=SALT)
