"""The space of a fit's embeddings, measured: what it learned from, and how people that it has not seen compare.

What ships is the same recipe fitted to more clips. Its mean, whitening and centroids are its own; distances of
unseen sequences, threshold and temperature are the evaluated fit's, which alone has clips that it has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from models.signflow.embedding_space import EmbeddingSpace
from models.signflow.excerpt import excerpt
from models.signflow.network import SignFlow
from models.signflow.sequences import Frames, pad
from training.signflow.clips import Clips
from training.signflow.fit import probabilities
from training.signflow.personal_trials import Unseen, choose


@torch.inference_mode()
def embed(network: SignFlow, sequences: Sequence[Frames], batch_size: int = 64) -> npt.NDArray[np.float32]:
    """Return the embeddings of sequences as they were recorded, float32 [N, d_model]; the network is in eval mode."""
    rows = []
    for start in range(0, len(sequences), batch_size):
        landmarks, lengths = pad([excerpt(frames) for frames in sequences[start : start + batch_size]])
        rows.append(network.embed(torch.from_numpy(landmarks), torch.from_numpy(lengths)).numpy())
    return np.concatenate(rows)


def space_of(network: SignFlow, fitted: Clips) -> EmbeddingSpace:
    """Return the space of a network's embeddings of the clips that it was fitted to."""
    return EmbeddingSpace.around(embed(network, fitted.sequences), fitted.labels, fitted.signers, len(fitted.signs))


def look_at(network: SignFlow, space: EmbeddingSpace, clips: Clips) -> Unseen:
    """Return what a network makes of clips that it has not seen."""
    thoughts = probabilities(network, clips.sequences)
    return Unseen(embed(network, clips.sequences), thoughts, clips.labels, clips.signers, space)


def measure(network: SignFlow, fitted: Clips, unseen: Clips, reference: Sequence[Frames]) -> EmbeddingSpace:
    """Return the space of a fit, with what clips of signers that it has not seen say of it.

    Parameters
    ----------
    network
        The fit, in eval mode on the CPU.
    fitted
        The clips that it was fitted to.
    unseen
        Clips of other signers, who teach and are asked to choose threshold and temperature.
    reference
        Sequences of other signers, that distances are compared with.
    """
    space = space_of(network, fitted)
    distances = np.sort(space.distances(space.directions(embed(network, reference))))
    threshold, temperature = choose([look_at(network, space, unseen)])
    return replace(space, reference=distances, threshold=threshold, temperature=temperature)


def move(space: EmbeddingSpace, shipped: SignFlow, clips: Clips) -> EmbeddingSpace:
    """Return a space with mean, whitening and centroids of another fit of the same recipe, to more clips."""
    own = space_of(shipped, clips)
    return replace(space, mean=own.mean, whitening=own.whitening, centroids=own.centroids)
