"""Sequences of frames as arrays: what a client sends, checked, and many of them padded into one batch.

numpy only, because this module travels inside the archive and runs in the serving workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.signflow.landmarks import AXES, LANDMARKS, WIDTH

Frames = npt.NDArray[np.float32]
"""One sequence, float32 [T, 225]; NaN marks a missing landmark, an all-zero hand a missing hand."""

MAX_FRAMES: Final = 2048
"""Longest sequence taken: over a minute at 30 frames/s, ten times the longest recorded sign."""


def as_frames(array: npt.NDArray[Any], *, max_frames: int = MAX_FRAMES) -> Frames:
    """Check one sequence and bring it into the model's layout.

    Parameters
    ----------
    array
        Real numbers, [T, 225] or [T, 75, 3]. NaN and infinities mean "landmark missing".
    max_frames
        Longest T accepted.

    Returns
    -------
    numpy.ndarray
        float32 [T, 225], C-contiguous.

    Raises
    ------
    ValueError
        If the shape, the type or the number of frames is not as described.
    """
    if array.dtype.kind not in "fiu":
        raise ValueError(f"expected an array of real numbers, got dtype {array.dtype}; send float32")
    if array.shape[1:] == (LANDMARKS, AXES):
        array = array.reshape(len(array), WIDTH)
    if array.shape[1:] != (WIDTH,):
        raise ValueError(
            f"expected frames of shape [T, {WIDTH}] or [T, {LANDMARKS}, {AXES}], got {list(array.shape)}; "
            "send 33 pose, 21 left-hand and 21 right-hand landmarks x (x, y, z) per frame"
        )
    if not 1 <= len(array) <= max_frames:
        raise ValueError(f"expected 1 to {max_frames} frames, got {len(array)}; split or trim the sequence")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which means "missing"
        return np.ascontiguousarray(array, dtype=np.float32)


def pad(sequences: Sequence[Frames]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Stack sequences of different lengths into one batch.

    Parameters
    ----------
    sequences
        At least one float32 [T_i, 225].

    Returns
    -------
    landmarks : numpy.ndarray
        float32 [B, max T_i, 225], zeros after each sequence's end.
    lengths : numpy.ndarray
        int64 [B].

    Raises
    ------
    ValueError
        If there is no sequence.
    """
    if not sequences:
        raise ValueError("expected at least one sequence, got none")
    lengths = np.array([len(frames) for frames in sequences], dtype=np.int64)
    batch = np.zeros((len(sequences), int(lengths.max()), WIDTH), dtype=np.float32)
    for row, frames in zip(batch, sequences, strict=True):
        row[: len(frames)] = frames
    return batch, lengths
