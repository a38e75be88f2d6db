"""Where a fit's embeddings lie: about which mean, around which centroid of each sign, and how far unseen ones are off.

Embeddings are the network's vectors before the classifier. They are centred by the training set's mean, whitened by how
takes of one sign by one signer vary (Hatch, Kajarekar & Stolcke, 2006, for voices), and compared by the cosine of their
angle. numpy only, because this module travels inside the archive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float64]

UNUSUAL: Final = 0.01
"""A p-value below this is unusual."""

SHRINKAGE: Final = 0.1
"""Share of the covariance that is taken to be alike in all directions."""

_SMALLEST: Final = 1e-12  # keeps a vector of zeros from dividing by zero
_DECIMALS: Final = 6  # of what is written; float32 has about as many


@dataclass(frozen=True)
class EmbeddingSpace:
    """What is known of a fit's embeddings.

    Attributes
    ----------
    mean
        Of the training set, [D].
    whitening
        What centred embeddings are multiplied by, [D, D].
    centroids
        Per sign the mean direction of its training clips, of length one, [signs, D]; zeros for a sign without clips.
    reference
        Distances, as `distances` measures them, of sequences from a fit that has not seen them, ascending [N].
    threshold
        By how much a take's cosine has to exceed that of a sign without one (`models.signflow.personal`).
    temperature
        What cosines are divided by to be log-odds, there.
    """

    mean: Vectors
    whitening: Vectors
    centroids: Vectors
    reference: Vectors
    threshold: float
    temperature: float

    @classmethod
    def around(
        cls,
        embeddings: npt.NDArray[Any],
        labels: npt.NDArray[np.int64],
        signers: npt.NDArray[np.str_],
        signs: int,
    ) -> EmbeddingSpace:
        """Return the space of training clips; nothing is known of unseen clips in it yet.

        Parameters
        ----------
        embeddings, labels, signers
            Of the clips, [N, D], [N] and [N].
        signs
            How many there are.
        """
        mean = embeddings.mean(0, dtype=np.float64)
        centred = embeddings - mean
        whitening = _whiten(centred, np.unique(np.stack([labels.astype(str), signers]), axis=1, return_inverse=True)[1])
        sums = np.zeros((signs, len(mean)))
        np.add.at(sums, labels, normalise(centred @ whitening))
        return cls(mean, whitening, normalise(sums), np.zeros(0), threshold=-0.2, temperature=0.05)

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> EmbeddingSpace:
        """Return what `write` wrote."""
        arrays = {name: np.array(written[name], np.float64) for name in ("mean", "whitening", "centroids", "reference")}
        return cls(**arrays, threshold=float(written["threshold"]), temperature=float(written["temperature"]))

    def write(self) -> dict[str, Any]:
        """Return it as JSON's values, to six decimals."""
        arrays = {name: getattr(self, name) for name in ("mean", "whitening", "centroids", "reference")}
        numbers = {"threshold": self.threshold, "temperature": self.temperature}
        return {name: np.round(array, _DECIMALS).tolist() for name, array in arrays.items()} | numbers

    def directions(self, embeddings: npt.NDArray[Any]) -> Vectors:
        """Return embeddings [N, D] centred and whitened, each of length one."""
        return normalise((embeddings - self.mean) @ self.whitening)

    def distances(self, directions: Vectors) -> Vectors:
        """Return how far directions [N, D] are from the nearest centroid, [N]: 1 less the largest cosine."""
        distances: Vectors = 1 - (directions @ self.centroids.T).max(axis=1)
        return distances

    def p_values(self, directions: Vectors) -> Vectors:
        """Return the conformal p-value of each of some directions [N, D] (Vovk, Gammerman & Shafer, 2005).

        That is the share of sequences like the reference that would be at least as far from all centroids: (1 + number
        of reference distances at least as large) / (reference distances + 1).
        """
        nearer = np.searchsorted(self.reference, self.distances(directions), side="left")
        p_values: Vectors = (1 + len(self.reference) - nearer) / (len(self.reference) + 1)
        return p_values


def _whiten(centred: Vectors, takes: npt.NDArray[np.int64]) -> Vectors:
    """Return the whitening [D, D] of embeddings [N, D] by their covariance within each group of takes [N]."""
    width = centred.shape[1]
    counts = np.bincount(takes)
    sums = np.zeros((len(counts), width))
    np.add.at(sums, takes, centred)
    apart = centred - (sums / np.maximum(counts, 1)[:, None])[takes]
    covariance = apart.T @ apart / max(len(takes) - len(counts), 1)
    if not (size := float(np.trace(covariance)) / width):  # one take of each: nothing is known of how they vary
        return np.eye(width)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * size * np.eye(width)
    variances, axes = np.linalg.eigh(covariance)
    whitening: Vectors = axes / np.sqrt(variances) @ axes.T
    return whitening


def normalise(vectors: npt.NDArray[Any]) -> Vectors:
    """Return vectors [..., D] at length one; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    directions: Vectors = np.asarray(vectors, np.float64) / np.maximum(lengths, _SMALLEST)
    return directions
