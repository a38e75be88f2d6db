"""How often an answer stays the same when a clip is disturbed by what is no part of the sign.

Asked are clips that are answered rightly without. Every training measures it on the signers it sets aside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from models.signflow.excerpt import find_seen
from models.signflow.landmarks import (
    AXES,
    LANDMARKS,
    WIDTH,
)
from models.signflow.sequences import Frames
from training.signflow.augmentation import SIDES, hang_arm, hide_other_hand, lower_arms, show_other_hand
from training.signflow.clips import Clips

Answer = Callable[[Sequence[Frames]], npt.NDArray[np.int64]]
"""From raw sequences to the label of each, int64 [N]."""

RATE: Final = 30
"""Frames a second that clips are taken to have."""

MOST: Final = 256
"""Clips that are asked: enough for a share within 0.03."""

PADDED: Final = 200
NOISE: Final = 0.004  # of the picture; what tracking makes of a still hand


def _pad(frames: Frames, value: float) -> Frames:
    empty = np.full((max(0, PADDED - len(frames)), WIDTH), value, np.float32)
    return np.concatenate([frames, empty])


def _shake(frames: Frames, rng: np.random.Generator, landmarks: slice = slice(None)) -> Frames:
    """Let some of what is seen tremble as tracking makes it, and sway a little as a standing person does."""
    points = frames.reshape(-1, LANDMARKS, AXES).copy()
    part = points[:, landmarks]
    seen = find_seen(points)[:, landmarks, None]
    sway = 0.004 * np.sin(np.arange(len(points)) / 7)[:, None, None] * [1, 0, 0]
    points[:, landmarks] = np.where(seen, part + rng.normal(0, NOISE, part.shape) + sway, part)
    return points.astype(np.float32).reshape(frames.shape)


def idle_before(frames: Frames, rng: np.random.Generator) -> Frames:
    """Show the first frame for 3 s before."""
    return np.concatenate([_shake(np.repeat(frames[:1], 3 * RATE, 0), rng), frames])


def hang_before(frames: Frames, rng: np.random.Generator) -> Frames:
    """Show the hands hanging for 3 s, and being raised within a third of a second."""
    share = np.r_[np.ones(3 * RATE), np.linspace(1, 0, RATE // 3, endpoint=False)]
    lowered = lower_arms(np.nan_to_num(frames[0]).reshape(LANDMARKS, AXES), share)
    return np.concatenate([_shake(lowered.reshape(-1, WIDTH), rng), frames])


def hold_last(frames: Frames, rng: np.random.Generator) -> Frames:
    """Hold the last frame for 1 s, trembling."""
    return np.concatenate([frames, _shake(np.repeat(frames[-1:], RATE, 0), rng)])


def add_idle_hand(frames: Frames, rng: np.random.Generator) -> Frames:
    """Let the hand that is seen less hang still in view, where it is seen in less than a tenth of the frames."""
    points = np.nan_to_num(frames).reshape(-1, LANDMARKS, AXES).copy()
    seen = find_seen(points)
    counts = [int(seen[:, hand.start].sum()) for _, _, hand in SIDES]
    idle = int(np.argmin(counts))
    if counts[idle] > 0.1 * len(points) or not hang_arm(points, idle):
        return frames
    if not show_other_hand(points, idle, hanging=True):
        return frames
    return _shake(points.reshape(-1, WIDTH), rng, SIDES[idle][2])


def show_second_hand(frames: Frames, rng: np.random.Generator) -> Frames:
    """Let a hand that is never seen be tracked at the end of its arm, wherever that is held."""
    points = np.nan_to_num(frames).reshape(-1, LANDMARKS, AXES).copy()
    seen = find_seen(points)
    counts = [int(seen[:, hand.start].sum()) for _, _, hand in SIDES]
    side = int(np.argmin(counts))
    if counts[side] or not show_other_hand(points, side):
        return frames
    return _shake(points.reshape(-1, WIDTH), rng, SIDES[side][2])


def lose_second_hand(frames: Frames, rng: np.random.Generator) -> Frames:
    """Let the hand that moves less not be tracked at all, where both are seen."""
    points = np.nan_to_num(frames).reshape(-1, LANDMARKS, AXES).copy()
    return points.reshape(-1, WIDTH) if hide_other_hand(points) else frames


def change_rate(frames: Frames, rate: float) -> Frames:
    """Show a clip at another frame rate; between a seen and a missing landmark there is nothing, so the nearer is."""
    points = np.nan_to_num(frames).reshape(-1, LANDMARKS, AXES)
    seen = find_seen(points)
    at = np.arange(0, len(points) - 1 + 1e-6, RATE / rate)
    low = at.astype(np.int64)
    high = np.minimum(low + 1, len(points) - 1)
    share = (at - low).astype(np.float32)[:, None, None]
    both = (seen[low] & seen[high])[..., None]
    nearer = points[np.where(at - low < 0.5, low, high)]
    return np.where(both, points[low] * (1 - share) + points[high] * share, nearer).reshape(-1, WIDTH)


def _drop(frames: Frames, rng: np.random.Generator) -> Frames:
    kept = rng.random(len(frames)) >= 0.1
    return frames[kept] if kept.any() else frames


DISTURBANCES: Final[dict[str, Callable[[Frames, np.random.Generator], Frames]]] = {
    "zeros_to_200": lambda frames, rng: _pad(frames, 0.0),
    "nulls_to_200": lambda frames, rng: _pad(frames, np.nan),
    "idle_3_s_before": idle_before,
    "hanging_3_s_before": hang_before,
    "last_held_1_s": hold_last,
    "idle_second_hand": add_idle_hand,
    "second_hand_shown": show_second_hand,
    "second_hand_lost": lose_second_hand,
    "frames_dropped": _drop,
    "fps_5": lambda frames, rng: change_rate(frames, 5),
    "fps_10": lambda frames, rng: change_rate(frames, 10),
    "fps_60": lambda frames, rng: change_rate(frames, 60),
    "fps_120": lambda frames, rng: change_rate(frames, 120),
}


def measure_robustness(answer: Answer, clips: Clips, seed: int = 0) -> dict[str, float]:
    """Return the share of rightly answered clips that are answered the same with each disturbance, by ``same_NAME``.

    At most `MOST` clips are asked. Those that a disturbance leaves as they are do not count; a disturbance that leaves
    all of them so has no share.
    """
    asked = clips.select(np.random.default_rng(seed).permutation(len(clips))[:MOST])
    right = asked.select(np.flatnonzero(answer(asked.sequences) == asked.labels))
    shares = {}
    for name, disturb in DISTURBANCES.items():
        rng = np.random.default_rng(seed)
        disturbed = [disturb(frames, rng) for frames in right.sequences]
        changed = [i for i, (new, old) in enumerate(zip(disturbed, right.sequences, strict=True)) if new is not old]
        if changed:
            shares[f"same_{name}"] = float(np.mean(answer([disturbed[i] for i in changed]) == right.labels[changed]))
    return shares


def describe(shares: Mapping[str, float]) -> str:
    """Return shares of same answers in a line."""
    return ", ".join(f"{name.removeprefix('same_').replace('_', ' ')} {share:.3f}" for name, share in shares.items())
