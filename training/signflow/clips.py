"""Clips: labelled sequences of landmarks, and who made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.signflow.sequences import Frames
from training.data.splits import Indices, Names


@dataclass(frozen=True)
class Clips:
    """Many sequences with their labels.

    Attributes
    ----------
    sequences
        float32 [T, 225] each.
    labels
        int64 [N], positions in `signs`.
    signs
        The signs' names.
    signers
        str [N]: those who must not be on both sides of a split.
    """

    sequences: tuple[Frames, ...]
    labels: Indices
    signs: tuple[str, ...]
    signers: Names

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.sequences)

    @property
    def lengths(self) -> Indices:
        """Frames of each clip, int64 [N]."""
        return np.array([len(frames) for frames in self.sequences], dtype=np.int64)

    def select(self, indices: npt.NDArray[Any] | Sequence[int]) -> Clips:
        """Return some of the clips, with the same signs."""
        chosen = np.asarray(indices, dtype=np.int64)
        sequences = tuple(self.sequences[i] for i in chosen)
        return Clips(sequences, self.labels[chosen], self.signs, self.signers[chosen])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all of it as plain arrays, the landmarks of every sequence one after the other."""
        landmarks = np.concatenate([frames.astype("<f4") for frames in self.sequences])
        signs = np.array(self.signs)
        named = {"landmarks": landmarks, "signs": signs, "signers": self.signers}
        return {**named, "labels": self.labels, "lengths": self.lengths}
