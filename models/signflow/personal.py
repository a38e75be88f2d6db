"""A sign recognised by a person's own takes of it: nearest prototypes among embeddings.

A person signs some signs once or a few times. Each sign's prototype is the mean direction of its takes (Snell et al.,
2017), and a sequence is compared with all prototypes by cosine. Bayes' rule joins that with what the network thinks:

    probability of a sign ∝ network's probability x exp(similarity / temperature)

The similarity is the cosine to the sign's prototype, and for a sign without a take the archive's threshold: what cosine
says nothing for or against it. (exp(cosine / temperature) is the density of directions about a prototype up to a
constant, von Mises-Fisher; the threshold stands for the density of all others.) So probabilities sum to one. A sign
with a take wins where its cosine exceeds the threshold by more than the temperature times the network's log-odds
against it; signs without a take keep the network's odds among one another. numpy only, because this module travels
inside the archive.
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
    similarities = np.full(probabilities.shape, space.threshold)
    similarities[:, own.signs] = directions @ own.directions.T
    odds = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) + similarities / space.temperature
    return softmax(odds)
