"""Augmentation of raw landmarks: other cameras, other bodies, other speeds, worse tracking.

Everything acts on a whole padded batch at once and leaves missing landmarks missing (zeros stay zeros).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.signflow.landmarks import AXES, LANDMARKS, LEFT_HAND, MIRROR, RIGHT_HAND

Batch = npt.NDArray[np.float32]
Lengths = npt.NDArray[np.int64]

_PARTS = (LEFT_HAND, RIGHT_HAND)


@dataclass(frozen=True)
class Augmentation:
    """How strongly to augment; zero switches a part off.

    Attributes
    ----------
    roll, yaw
        Largest rotation in the picture and about the vertical, radians.
    scale, aspect
        Standard deviation of the logarithm of the size, and of x against y.
    tilt
        Largest rotation of a hand about its wrist, radians.
    bodies
        Standard deviation of the logarithm of the size of a hand against the body.
    speed
        Standard deviation of the logarithm of the speed.
    warp
        Unevenness of the speed within a sequence, 0 to 1.
    crop
        Largest share of frames cut off at each end.
    jitter
        Standard deviation of noise on each landmark, in units of the body's height in view.
    drop_hand, drop_frames
        Probability that one hand is lost for a while, and share of frames in which tracking loses both.
    mirror
        Probability of showing the sequence in a mirror.
    """

    roll: float = 0.2
    yaw: float = 0.3
    scale: float = 0.1
    aspect: float = 0.1
    tilt: float = 0.15
    bodies: float = 0.1
    speed: float = 0.2
    warp: float = 0.4
    crop: float = 0.08
    jitter: float = 0.004
    drop_hand: float = 0.15
    drop_frames: float = 0.03
    mirror: float = 0.3


NONE = Augmentation(*([0.0] * 13))
"""No augmentation."""


def augment(
    batch: Batch, lengths: Lengths, how: Augmentation, rng: np.random.Generator, *, max_frames: int = 160
) -> tuple[Batch, Lengths]:
    """Return another performance of each sequence.

    Parameters
    ----------
    batch
        float32 [B, T, 225], finite, zeros where missing or padded.
    lengths
        int64 [B].
    how
        Strengths.
    rng
        Source of chance.
    max_frames
        Slower performances are not stretched beyond this.

    Returns
    -------
    batch : numpy.ndarray
        float32 [B, T', 225].
    lengths : numpy.ndarray
        int64 [B].
    """
    points = batch.reshape(*batch.shape[:2], LANDMARKS, AXES)
    points, lengths = _retime(points, lengths, how, rng, max_frames)
    seen = (points != 0).any(-1, keepdims=True)
    points = _mirror(points, how.mirror, rng)
    seen = (points != 0).any(-1, keepdims=True)
    points = _turn_hands(points, how, rng)
    points = _move_camera(points, seen, how, rng)
    seen = seen & _tracked(points.shape[:2], lengths, how, rng)
    points = np.where(seen, points, np.float32(0))
    return points.reshape(*points.shape[:2], -1).astype(np.float32), lengths


def _retime(
    points: Batch, lengths: Lengths, how: Augmentation, rng: np.random.Generator, max_frames: int
) -> tuple[Batch, Lengths]:
    count = len(points)
    if how.speed == how.warp == how.crop == 0:
        return points, lengths
    begin = rng.uniform(0, how.crop, count) * lengths
    end = lengths - 1 - rng.uniform(0, how.crop, count) * lengths
    stretched = np.rint((end - begin + 1) * np.exp(rng.normal(0, how.speed, count)))
    longest = np.maximum(max_frames, lengths)
    new_lengths = np.clip(stretched, 1, longest).astype(np.int64)
    place = (
        np.arange(new_lengths.max()) / np.maximum(new_lengths - 1, 1)[:, None]
    )  # (B, T'), 0 to 1 within the sequence
    bend = rng.uniform(-how.warp, how.warp, (count, 1)) / np.pi
    place = np.clip(place + bend * np.sin(np.pi * place), 0, 1)
    at = np.clip(begin[:, None] + place * np.maximum(end - begin, 0)[:, None], 0, lengths[:, None] - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, lengths[:, None] - 1)
    rows = np.arange(count)[:, None]
    first, second = points[rows, low], points[rows, high]
    share = (at - low).astype(np.float32)[:, :, None, None]
    both = (first != 0).any(-1, keepdims=True) & (second != 0).any(-1, keepdims=True)
    share = np.where(both, share, np.rint(share))  # between a seen and a missing landmark there is nothing
    mixed = first * (1 - share) + second * share
    mixed[np.arange(mixed.shape[1]) >= new_lengths[:, None]] = 0
    return mixed, new_lengths


def _mirror(points: Batch, probability: float, rng: np.random.Generator) -> Batch:
    chosen = rng.random(len(points)) < probability
    if not chosen.any():
        return points
    flipped = points[chosen][:, :, MIRROR]
    seen = (flipped != 0).any(-1)
    flipped[..., 0] = np.where(seen, 1 - flipped[..., 0], 0)  # an image's x runs from 0 to 1
    points = points.copy()
    points[chosen] = flipped
    return points


def _turn_hands(points: Batch, how: Augmentation, rng: np.random.Generator) -> Batch:
    if how.tilt == how.bodies == 0:
        return points
    points = points.copy()
    for part in _PARTS:
        size = np.exp(rng.normal(0, how.bodies, (len(points), 1, 1, 1))).astype(np.float32)
        turn = _rotations(rng.uniform(-how.tilt, how.tilt, (len(points), 3)))
        wrist = points[:, :, part.start : part.start + 1]
        points[:, :, part] = wrist + np.einsum("btlj,bij->btli", points[:, :, part] - wrist, turn, optimize=True) * size
    return points


def _move_camera(points: Batch, seen: npt.NDArray[np.bool_], how: Augmentation, rng: np.random.Generator) -> Batch:
    count = len(points)
    number = np.maximum(seen.sum((1, 2)), 1)[:, None, None]
    centre = points.sum((1, 2))[:, None, None] / number
    height = np.sqrt(((points - centre) ** 2 * seen).sum((1, 2, 3)) / number[:, 0, 0, 0:1][:, 0])
    angles = np.stack(
        [np.zeros(count), rng.uniform(-how.yaw, how.yaw, count), rng.uniform(-how.roll, how.roll, count)], axis=1
    )
    size = np.exp(rng.normal(0, how.scale, (count, 1)) + rng.normal(0, 1, (count, 3)) * [how.aspect / 2] * [1, 1, 0])
    matrix = (_rotations(angles) * size[:, :, None]).astype(np.float32)
    moved: Batch = np.einsum("btlj,bij->btli", points - centre, matrix, optimize=True) + centre
    if how.jitter:
        noise = rng.standard_normal(points.shape, dtype=np.float32)
        moved += noise * (how.jitter * height).astype(np.float32)[:, None, None, None]
    return moved


def _tracked(
    shape: tuple[int, ...], lengths: Lengths, how: Augmentation, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    # (B, T, 75, 1): false where tracking is made to fail
    count, frames = shape
    tracked = np.ones((count, frames, LANDMARKS, 1), dtype=bool)
    t = np.arange(frames)
    for part in _PARTS:
        lost = rng.random((count, frames)) < how.drop_frames
        start = rng.uniform(0, 1, count) * lengths
        stop = start + rng.uniform(0.05, 0.3, count) * lengths
        gone = rng.random(count) < how.drop_hand / 2
        lost |= gone[:, None] & (t >= start[:, None]) & (t < stop[:, None])
        tracked[:, :, part] = ~lost[:, :, None, None]
    return tracked


def _rotations(angles: npt.NDArray[Any]) -> Batch:
    # angles (B, 3) about x, y, z -> (B, 3, 3)
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles).T, np.sin(angles).T
    rows = [
        [cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz],
        [cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz],
        [-sy, sx * cy, cx * cy],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2).astype(np.float32)
