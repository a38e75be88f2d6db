"""A sign recognised by a person's own takes of it: nearest prototypes among embeddings.

A person signs some signs once or a few times. Each sign's prototype is the mean direction of its takes (Snell et al.,
2017). A sign without a take has its centroid of the training set for one, moved as this person's prototypes lie beside
the centroids of their signs, in the mean: people have a way of their own to make all signs. A sequence is compared with
all of them by cosine, and Bayes' rule joins that with what the network thinks:

    probability of a sign ∝ network's probability x exp(similarity / temperature)

The similarity is the cosine, and for a sign without a take the archive's threshold more: what is said of a sign by its
own takes counts for more than what is guessed. (exp(cosine / temperature) is the density of directions about a
prototype up to a constant, von Mises-Fisher.) So probabilities sum to one. Of signs that the network thinks equally of,
one with a take wins where its cosine exceeds those of the others by more than the threshold. numpy only, because this
module travels inside the archive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.probabilities import softmax
from models.signflow.embedding_space import EmbeddingSpace, Vectors, normalise

MOST_TAKES: Final = 8
"""Takes of one sign."""


@dataclass(frozen=True)
class Prototypes:
    """What a person's takes look like.

    Attributes
    ----------
    signs
        Positions of the signs with a take, int64 [K].
    directions
        The mean direction of each sign's takes, of length one, [K, D].
    """

    signs: npt.NDArray[np.int64]
    directions: Vectors

    @classmethod
    def of(cls, takes: Mapping[int, npt.NDArray[Any]], space: EmbeddingSpace) -> Prototypes:
        """Return the prototypes of takes: by a sign's position, its embeddings [takes, D]."""
        signs = np.array(sorted(takes), np.int64)
        means = [space.directions(takes[sign]).mean(0) for sign in signs.tolist()]
        return cls(signs, normalise(np.array(means).reshape(len(signs), len(space.mean))))


def personalise(
    probabilities: npt.NDArray[Any], directions: Vectors, own: Prototypes, space: EmbeddingSpace
) -> npt.NDArray[np.float64]:
    """Return the probabilities of sequences of a person whose takes are known.

    Parameters
    ----------
    probabilities
        What the network thinks of them, [N, signs].
    directions
        Their embeddings as `EmbeddingSpace.directions` gives them, [N, D].
    own
        The person's prototypes.
    space
        The embeddings' space, with threshold and temperature.

    Returns
    -------
    numpy.ndarray
        [N, signs]; those given, where there is no take.
    """
    if not len(own.signs):
        return np.asarray(probabilities, np.float64)
    similarities = directions @ moved_centroids(own, space).T + space.threshold
    similarities[:, own.signs] = directions @ own.directions.T
    odds = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) + similarities / space.temperature
    return softmax(odds)


def moved_centroids(own: Prototypes, space: EmbeddingSpace) -> Vectors:
    """Return where the signs of a person lie whose other signs differ from the centroids as the taught ones do.

    Parameters
    ----------
    own
        The person's prototypes, of one sign or more.
    space
        The embeddings' space.

    Returns
    -------
    numpy.ndarray
        [signs, D], of length one.
    """
    return normalise(space.centroids + (own.directions - space.centroids[own.signs]).mean(0))
