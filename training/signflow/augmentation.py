"""Augmentation of raw landmarks: other cameras, other bodies, other speeds, worse tracking.

Everything acts on a whole padded batch at once and leaves missing landmarks missing (zeros stay zeros).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.signflow.landmarks import (
    AXES,
    LANDMARKS,
    LEFT_HAND,
    LEFT_SHOULDER,
    LEFT_WRIST,
    MIRROR,
    RIGHT_HAND,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
)

Batch = npt.NDArray[np.float32]
Lengths = npt.NDArray[np.int64]

_PARTS = (LEFT_HAND, RIGHT_HAND)
_POSE_WRISTS = (LEFT_WRIST, RIGHT_WRIST)
SIDES = ((LEFT_SHOULDER, LEFT_WRIST, LEFT_HAND), (RIGHT_SHOULDER, RIGHT_WRIST, RIGHT_HAND))
"""Shoulder, wrist and hand of each side."""

_WRIST = 1  # among what `_arm` lists
_HANGING = 1.35  # shoulder widths from a shoulder down to the wrist
_SLOWEST = 6  # times fewer frames: 5 a second instead of 30


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
    idle
        Probability, at each end, that the signer is seen to hang about first, and to raise the hands from there.
    thin
        Probability that a slower camera is used, of down to a sixth of the frames.
    other_hand
        Probability that the hand that moves less is not tracked at all, or, where it never was, that it is, at the end
        of its arm, which hangs in half of the cases: trackers differ in how often they see a hand that does not sign.
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
    idle: float = 0.25
    thin: float = 0.3
    other_hand: float = 0.25


NONE = Augmentation(*([0.0] * 16))
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
    points, lengths = _idle(points, lengths, how.idle, rng)
    points = _other_hand(points, how.other_hand, rng)
    points = _mirror(points, how.mirror, rng)
    seen = (points != 0).any(-1, keepdims=True)
    points = _turn_hands(points, how, rng)
    points = _move_camera(points, seen, how, rng)
    seen = seen & _track(points.shape[:2], lengths, how, rng)
    points = np.where(seen, points, np.float32(0))
    return points.reshape(*points.shape[:2], -1).astype(np.float32), lengths


def _retime(
    points: Batch, lengths: Lengths, how: Augmentation, rng: np.random.Generator, max_frames: int
) -> tuple[Batch, Lengths]:
    count = len(points)
    if how.speed == how.warp == how.crop == how.thin == 0:
        return points, lengths
    begin = rng.uniform(0, how.crop, count) * lengths
    end = lengths - 1 - rng.uniform(0, how.crop, count) * lengths
    thinned = np.where(rng.random(count) < how.thin, np.exp(rng.uniform(0, np.log(_SLOWEST), count)), 1.0)
    stretched = np.rint((end - begin + 1) * np.exp(rng.normal(0, how.speed, count)) / thinned)
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


def _idle(points: Batch, lengths: Lengths, probability: float, rng: np.random.Generator) -> tuple[Batch, Lengths]:
    """Let some sequences begin or end with hands that hang, and are raised or lowered within a third of a second."""
    count = len(points)
    chosen = rng.random((2, count)) < probability
    if not chosen.any():
        return points, lengths
    still, moving = rng.integers(0, 12, (2, count)) * chosen, rng.integers(3, 11, (2, count)) * chosen
    (lead, trail), new_lengths = still + moving, lengths + (still + moving).sum(0)
    longer = np.zeros((count, int(new_lengths.max()), *points.shape[2:]), np.float32)
    for row, out, length, before, after, slow in zip(points, longer, lengths, lead, trail, moving.T, strict=True):
        out[before : before + length] = row[:length]
        if before:
            out[:before] = lower_arms(row[0], np.clip(np.arange(before, 0, -1) / (slow[0] + 1), 0, 1))
        if after:
            out[before + length :][:after] = lower_arms(
                row[length - 1], np.clip(np.arange(1, after + 1) / (slow[1] + 1), 0, 1)
            )
    return longer, new_lengths


def lower_arms(frame: Batch, how_far: npt.NDArray[Any]) -> Batch:
    """Return a frame [75, 3] with its arms let down by some shares of the way [F], float32 [F, 75, 3].

    Arms stay of which the pose does not show wrist and both shoulders.
    """
    frames = np.repeat(frame[None], len(how_far), 0)
    share = (how_far * how_far * (3 - 2 * how_far)).astype(np.float32)[:, None, None]
    for side, (_, _, hand) in enumerate(SIDES):
        there, ways = _ways_down(frame[None], side)
        if not there.any():
            continue
        ways = np.concatenate([ways[0], np.repeat(ways[0, _WRIST : _WRIST + 1], hand.stop - hand.start, 0)])
        arm = [*_arm(side), *range(hand.start, hand.stop)]
        frames[:, arm] = np.where((frame[arm] != 0).any(1, keepdims=True), frames[:, arm] + share * ways, 0)
    return frames


def hang_arm(points: Batch, side: int) -> bool:
    """Let an arm of the pose hang, in place, in all frames [T, 75, 3] that show it.

    Returns
    -------
    bool
        Whether any does: both shoulders and the wrist have to be seen.
    """
    there, ways = _ways_down(points, side)
    arm = points[:, _arm(side)]
    points[:, _arm(side)] = arm + np.where(there[:, None, None] & (arm != 0).any(2, keepdims=True), ways, 0)
    return bool(there.any())


def _arm(side: int) -> list[int]:
    """Return the landmarks of the pose below a shoulder: elbow, wrist, and those of the hand."""
    shoulder, wrist, _ = SIDES[side]
    return [shoulder + 2, *range(wrist, wrist + 8, 2)]


def _ways_down(points: Batch, side: int) -> tuple[npt.NDArray[np.bool_], Batch]:
    """Return in which frames [T, 75, 3] an arm can hang, [T], and how far each of its landmarks is from there.

    The ways are float32 [T, 5, 3]. The wrist goes below the shoulder, and what belongs to it alike; an elbow halfway
    between shoulder and wrist. The wrist's depth stays.
    """
    shoulder, wrist, _ = SIDES[side]
    there = (points[:, [LEFT_SHOULDER, RIGHT_SHOULDER, wrist]] != 0).any(2).all(1)
    width = np.linalg.norm(points[:, LEFT_SHOULDER, :2] - points[:, RIGHT_SHOULDER, :2], axis=1)
    down = points[:, shoulder].copy()
    down[:, 1] += _HANGING * width
    down[:, 2] = points[:, wrist, 2]
    ways = np.repeat((down - points[:, wrist])[:, None], len(_arm(side)), 1)
    ways[:, 0] = (points[:, shoulder] + down) / 2 - points[:, shoulder + 2]
    return there, ways


def _other_hand(points: Batch, probability: float, rng: np.random.Generator) -> Batch:
    """Take the hand that moves less away from some sequences; show it where it was never seen."""
    chosen = np.flatnonzero(rng.random(len(points)) < probability)
    if not len(chosen):
        return points
    points = points.copy()
    for row in chosen:
        if not hide_other_hand(points[row]):
            side = int(not points[row, :, RIGHT_HAND].any())
            hanging = rng.random() < 0.5 and hang_arm(points[row], side)
            show_other_hand(points[row], side, hanging=hanging)
    return points


def hide_other_hand(points: Batch) -> bool:
    """Take the hand that moves less away, in place, from points [T, 75, 3].

    Returns
    -------
    bool
        Whether both hands were seen; else nothing is changed.
    """
    seen = [(points[:, hand] != 0).any((1, 2)) for hand in _PARTS]
    if not all(one.any() for one in seen):
        return False
    moved = [points[there, hand.start, :2].var(0).sum() for there, hand in zip(seen, _PARTS, strict=True)]
    points[:, _PARTS[int(np.argmin(moved))]] = 0
    return True


def show_other_hand(points: Batch, side: int, *, hanging: bool = False) -> bool:
    """Show a hand, in place, at its wrist of the pose [T, 75, 3], in the first shape that the other hand is seen in.

    Returns
    -------
    bool
        Whether that was possible: the other hand and the wrist have to be seen.
    """
    (_, wrist, hand), (_, _, other) = SIDES[side], SIDES[1 - side]
    seen, there = (points[:, other] != 0).any((1, 2)), (points[:, wrist] != 0).any(1)
    if not (seen.any() and there.any()):
        return False
    model = points[int(seen.argmax()), other]
    shape = (model - model[0]) * np.array([-1, 1, 1], np.float32)
    if hanging:
        shape[:, 1] = np.abs(shape[:, 1])  # fingers down
    placed = np.where([True, True, False], points[there, wrist, None], model[0])  # depth counts from a hand's own wrist
    points[there, hand] = placed + shape
    return True


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
    """Turn and size the scene; depths of a hand, which count from its own wrist, are put to those of the body first.

    A hand thus turns about its wrist, and its wrist goes where the pose's does. Afterwards its depths count from its
    wrist again.
    """
    count = len(points)
    placed = _place_hands(points, seen)
    number = np.maximum(seen.sum((1, 2)), 1)[:, None, None]
    centre = placed.sum((1, 2))[:, None, None] / number
    height = np.sqrt(((placed - centre) ** 2 * seen).sum((1, 2, 3)) / number[:, 0, 0, 0:1][:, 0])
    angles = np.stack(
        [np.zeros(count), rng.uniform(-how.yaw, how.yaw, count), rng.uniform(-how.roll, how.roll, count)], axis=1
    )
    size = np.exp(rng.normal(0, how.scale, (count, 1)) + rng.normal(0, 1, (count, 3)) * [how.aspect / 2] * [1, 1, 0])
    matrix = (_rotations(angles) * size[:, :, None]).astype(np.float32)
    moved: Batch = np.einsum("btlj,bij->btli", placed - centre, matrix, optimize=True) + centre
    for part in _PARTS:
        moved[:, :, part, 2] += (points[:, :, part.start, 2] - moved[:, :, part.start, 2])[:, :, None]
    if how.jitter:
        noise = rng.standard_normal(points.shape, dtype=np.float32)
        moved += noise * (how.jitter * height).astype(np.float32)[:, None, None, None]
    return moved


def _place_hands(points: Batch, seen: npt.NDArray[np.bool_]) -> Batch:
    """Return points whose hands have the depth of the pose's wrists, where the pose shows them."""
    placed = points.copy()
    for part, wrist in zip(_PARTS, _POSE_WRISTS, strict=True):
        deeper = np.where(seen[:, :, wrist, 0], points[:, :, wrist, 2] - points[:, :, part.start, 2], 0)
        placed[:, :, part, 2] += deeper[:, :, None] * seen[:, :, part, 0]
    return placed


def _track(
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
