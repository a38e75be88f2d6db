"""Which texts say nearly the same: the groups that a split must not tear apart.

::

    texts ─word shingles─> sets ─MinHash─> signatures ─bands─> candidate pairs ─exact Jaccard─> edges ─> groups

A catalogue lists the same product again with another colour, size or seller. Where one of the two is trained on and
the other tested, the score says how well the model remembers, not how well it reads.

Method: MinHash signatures and banding (Broder, 1997; Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, ch. 3);
every candidate pair is then compared exactly, so banding can miss a pair but never invents one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.text import Hashing, hashed

Groups = npt.NDArray[np.int64]

SHINGLES = Hashing(1 << 24, word=(1, 2), char=(0, 0))
"""Words and pairs of words: single words alone would call two short titles of one shop the same."""

BANDS, ROWS = 48, 3
"""A pair of Jaccard similarity 0.5 shares a band with probability 0.998, one of 0.4 with 0.96, one of 0.2 with 0.32."""

MOST_IN_BUCKET = 64
"""Members of a band's bucket compared all with all; of a greater one, each with the next few."""


def groups(texts: Sequence[str], similarity: float = 0.5, seed: int = 0) -> Groups:
    """Group texts that are near-duplicates, directly or through others.

    Parameters
    ----------
    texts
        N texts; one without a word is in a group of its own.
    similarity
        Jaccard similarity of two texts' shingles from which they are near-duplicates.
    seed
        Of the MinHash functions.

    Returns
    -------
    ndarray of int64, shape (N,)
        Number of each text's group, which is the index of its first member.
    """
    offsets, shingles, _ = hashed(texts, SHINGLES)
    filled = np.flatnonzero(np.diff(offsets))
    parent = np.arange(len(texts))
    if len(filled):
        signatures = _signatures(offsets[filled], shingles, seed)
        pairs = filled[_candidates(signatures)]
        close = _jaccard(offsets, shingles, pairs) >= similarity
        for left, right in pairs[close].tolist():
            _unite(parent, left, right)
    return np.array([_root(parent, index) for index in range(len(texts))], np.int64)


def united(*groupings: Groups) -> Groups:
    """Return the groups that arise when members of one group in any grouping are in one group."""
    parent = np.arange(len(groupings[0]))
    for grouping in groupings:
        for index, group in enumerate(grouping.tolist()):
            _unite(parent, index, group)
    return np.array([_root(parent, index) for index in range(len(parent))], np.int64)


def _signatures(starts: Groups, shingles: Groups, seed: int) -> npt.NDArray[np.uint64]:
    """Return MinHash signatures uint64 [N, BANDS * ROWS]; `starts` are those of the rows that are not empty."""
    chance = np.random.default_rng(seed)
    factors = chance.integers(1, 1 << 62, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    terms = chance.integers(0, 1 << 62, BANDS * ROWS, dtype=np.uint64)
    wide = shingles.astype(np.uint64)
    # Multiply-shift: the high half of an odd multiple modulo 2^64 orders the shingles as good as at random.
    return np.stack(
        [
            np.minimum.reduceat((wide * factor + term) >> np.uint64(32), starts)
            for factor, term in zip(factors, terms, strict=True)
        ],
        axis=1,
    )


def _candidates(signatures: npt.NDArray[np.uint64]) -> Groups:
    """Return the distinct pairs int64 [P, 2] that share a band, the lower index first."""
    found = []
    for band in range(BANDS):
        part = np.ascontiguousarray(signatures[:, band * ROWS : (band + 1) * ROWS])
        _, bucket = np.unique(part, axis=0, return_inverse=True)
        order = np.argsort(bucket, kind="stable")
        ordered = bucket[order]
        for distance in range(1, MOST_IN_BUCKET):
            same = ordered[distance:] == ordered[:-distance]
            if not same.any():
                break
            found.append(np.stack([order[:-distance][same], order[distance:][same]], axis=1))
    pairs = np.concatenate(found) if found else np.zeros((0, 2), np.int64)
    unique: Groups = np.unique(pairs, axis=0)
    return unique


def _jaccard(offsets: Groups, shingles: Groups, pairs: Groups) -> npt.NDArray[np.float64]:
    sizes = np.diff(offsets)
    similarities = np.empty(len(pairs))
    for index, (left, right) in enumerate(pairs.tolist()):
        shared = np.intersect1d(
            shingles[offsets[left] : offsets[left + 1]],
            shingles[offsets[right] : offsets[right + 1]],
            assume_unique=True,
        ).size
        similarities[index] = shared / (sizes[left] + sizes[right] - shared)
    return similarities


def _root(parent: Groups, index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = int(parent[index])
    return index


def _unite(parent: Groups, left: int, right: int) -> None:
    first, second = sorted((_root(parent, left), _root(parent, right)))
    parent[second] = first
