"""A product's text as a bag of hashed n-grams in four views, each scaled to its own length.

::

    text ─┬─> words and pairs of words ──┐
          ├─> runs of four characters ───┤
          ├─> the first twelve words ────┼─> indices, weights [N, K]
          └─> how it is written ─────────┘

How a text is written (capitals, digits, brackets, signs, its length) tells an old book's entry from a new one's, and a
machine-translated listing from a publisher's; folding for the words throws that away, so it is a view of its own.

A `Vocabulary` knows which of the `BUCKETS` were seen in training and how rare each is, a byte each. Only those are
given to the graph, by the row of its table they have there: the table is as small as the vocabulary, while the hash is
wide enough for few n-grams to share a bucket.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.text import Floats, Hashing, Integers, beside, folded, ngrams, padded, tfidf

BUCKETS: Final = 1 << 20
HEAD_WORDS: Final = 12
SHAPED: Final = 120
"""Characters of the text of which the shape is taken: the title and how the description begins."""

RAREST: Final = 12.7
STEP: Final = RAREST / 254
"""Inverse document frequencies, 1 to 13.7, are kept in a byte; a step changes a weight by at most 2.5 %."""

Bag = tuple[Integers, Integers, Floats]


WORDS: Final = Hashing(BUCKETS, word=(1, 2), char=(0, 0), salt=1)
CHARACTERS: Final = Hashing(BUCKETS, word=(0, 0), char=(4, 4), salt=2)
SHAPES: Final = Hashing(BUCKETS, word=(1, 3), char=(0, 0), salt=3)
HEAD_SALT: Final = 0x5A5A5
"""Sends the words of the head to other buckets than the same words of the text."""

SHARES: Final[Mapping[str, float]] = {"words": 0.36, "head": 0.10, "characters": 0.36, "shape": 0.18}
"""Which share of a product's squared length each view has, set manually in early trials; no search has covered them."""


@dataclass(frozen=True)
class Vocabulary:
    """What was seen in training.

    Attributes
    ----------
    levels
        uint8 [BUCKETS]: 0 of a bucket that is not known, else 1 and the number of steps that its inverse document
        frequency is above 1.
    """

    levels: NDArray[np.uint8]

    @classmethod
    def fit(cls, texts: Sequence[str], least: int = 2) -> "Vocabulary":
        """Learn which n-grams at least `least` of the texts have, and how rare they are."""
        seen = np.zeros(BUCKETS, np.int64)
        for _, buckets, _ in looked_at(texts):
            seen += np.bincount(buckets, minlength=BUCKETS)
        known = np.flatnonzero(seen >= least)
        rarity = np.log((1 + len(texts)) / (1 + seen[known]))
        levels = np.zeros(BUCKETS, np.uint8)
        levels[known] = 1 + np.round(np.clip(rarity, 0, RAREST) / STEP)
        return cls(levels)

    @classmethod
    def from_text(cls, text: str) -> "Vocabulary":
        """Read what `to_text` wrote.

        Raises
        ------
        ValueError
            If it is not the text of a vocabulary.
        """
        levels = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
        if len(levels) != BUCKETS:
            raise ValueError(f"expected a vocabulary of {BUCKETS} buckets, got one of {len(levels)}")
        return cls(levels)

    def to_text(self) -> str:
        """Return the vocabulary in base64, to be kept in JSON."""
        return base64.b64encode(self.levels.tobytes()).decode("ascii")

    @cached_property
    def size(self) -> int:
        """How many n-grams are known: the rows of a model's table."""
        return int(np.count_nonzero(self.levels))

    @cached_property
    def rows(self) -> NDArray[np.int32]:
        """The row of each bucket in a model's table, [BUCKETS]; without a meaning where the bucket is not known."""
        return (np.cumsum(self.levels > 0) - 1).astype(np.int32)

    @cached_property
    def rarity(self) -> Floats:
        """The inverse document frequency of each bucket, [BUCKETS]."""
        return (1 + (np.maximum(self.levels, 1) - 1) * STEP).astype(np.float32)

    def parts(self, texts: Sequence[str]) -> dict[str, Bag]:
        """Weigh the known n-grams of texts, view by view.

        Parameters
        ----------
        texts : sequence of str, length N
            Of products, as `models.catalog.cleaning.whole` gives them.

        Returns
        -------
        dict of (offsets, rows, weights)
            By view: offsets int64 [N + 1]; rows int64 [nnz] of a model's table, 0 to `size` - 1; weights float32 [nnz],
            ``(1 + ln(count)) * rarity``, scaled so that their squares add up to the view's share.
        """
        bags = looked_at(texts)
        # One pass for all views, as if the same texts came once per view.
        starts = np.cumsum([0, *(len(buckets) for _, buckets, _ in bags)])
        offsets = np.concatenate(
            [bags[0][0][:1], *(bag[0][1:] + at for bag, at in zip(bags, starts[:-1], strict=True))]
        )
        buckets = np.concatenate([buckets for _, buckets, _ in bags])
        known = self.levels[buckets] > 0
        before = np.zeros(len(known) + 1, np.int64)
        np.cumsum(known, out=before[1:])
        offsets, buckets = before[offsets], buckets[known]
        counts = np.concatenate([counts for _, _, counts in bags])[known]
        weights = tfidf(offsets, buckets, counts, self.rarity)
        rows = self.rows[buckets].astype(np.int64)
        parts = {}
        for place, (name, share) in enumerate(SHARES.items()):
            own = offsets[place * len(texts) : (place + 1) * len(texts) + 1]
            mine = slice(own[0], own[-1])
            parts[name] = own - own[0], rows[mine], weights[mine] * np.float32(np.sqrt(share))
        return parts

    def bag(self, texts: Sequence[str]) -> Bag:
        """Return all views of texts side by side: offsets int64 [N + 1], rows int64 [nnz], weights float32 [nnz]."""
        return beside(list(self.parts(texts).values()))

    def arrays(self, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return what the graph takes: ``indices`` int64 [N, K] and ``weights`` float32 [N, K]."""
        indices, weights = padded(*self.bag(texts))
        return {"indices": indices, "weights": weights}


def looked_at(texts: Sequence[str]) -> list[Bag]:
    """Return the counted n-grams of texts, one bag per view, in the order of `SHARES`."""
    count = len(texts)
    # One folding for all, and one cutting into words for texts and heads: a single text costs what numpy's calls do.
    everything = folded([*texts, *map(head, texts), *map(shape, texts)])
    offsets, buckets, counts = ngrams(everything.part(0, 2 * count), WORDS)
    middle = offsets[count]
    return [
        (offsets[: count + 1], buckets[:middle], counts[:middle]),
        (offsets[count:] - middle, buckets[middle:] ^ HEAD_SALT, counts[middle:]),
        ngrams(everything.part(0, count), CHARACTERS),
        ngrams(everything.part(2 * count, 3 * count), SHAPES),
    ]


def head(text: str) -> str:
    """Return the first words of a text, which most often are its title."""
    return " ".join(text[: 20 * HEAD_WORDS].split(None, HEAD_WORDS)[:HEAD_WORDS])


def shape(text: str) -> str:
    """Return how a text is written, as words: runs of capitals, letters and digits, signs, and how long it is.

    Examples
    --------
    >>> shape("Lot De 2 Bandes (N° 12)")
    'ul ul d ul  p28 u pb0  d p29  n6 n6 n6'
    """
    length = f"n{int(2 * np.log1p(len(text)))}"
    classes = text[:SHAPED].translate(_CLASSES)
    # Three times: it weighs 1 + ln(3) of what a run does.
    return " ".join((_RUNS.sub(r"\1", classes), length, length, length))


class _Classes(dict[int, str]):
    """What a character is in a shape: a capital, another letter, a digit, or a sign that is a word of its own."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character.isspace():
            kind = " "
        elif character.isalpha():
            kind = "u" if character.isupper() else "l"
        else:
            kind = "d" if character.isalnum() else f" p{code:x} "
        if code < 1 << 16:  # bounded: what clients send must not grow a worker
            self[code] = kind
        return kind


_CLASSES: Final = _Classes()
_RUNS: Final = re.compile(r"([uld])\1+")
