"""The part of a sequence that is the sign, always in as many frames: what a network is shown, in training as served.

Frames with no hand seen, idling and held frames at the ends, an idle second hand, short losses of tracking and the
camera's frame rate tell nothing about the sign, and are taken away here. numpy only, because this module travels inside
the archive and runs in the serving workers.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from models.signflow.landmarks import (
    AXES,
    LANDMARKS,
    LEFT_HAND,
    LEFT_SHOULDER,
    LEFT_WRIST,
    POSE,
    RIGHT_HAND,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
)
from models.signflow.sequences import Frames

SAMPLES: Final = 48
"""Frames of an excerpt."""

MOVED: Final = 0.1
"""Share of a clip's farthest departure from its first (last) posture by which the sign has begun (is not yet over)."""

HOLD: Final = 0.25
"""Share of the moving time that is shown of the stillness at each end; where there is less, the end frame is held."""

GAP: Final = 0.2
"""Longest loss of a hand that is filled in, as a share of the moving time."""

IDLE: Final = 0.25
"""A hand that hangs is idle if it moves less than this share of what the other, higher one does."""

STILL: Final = 0.08
"""Or if it moves, against its shoulder, less than this share of the shoulders' width: in a still sign neither does."""

LOWER: Final = 0.5
"""How much lower than the other's highest place it must hang, as a share of the shoulders' width."""

Plane = npt.NDArray[np.float32]
"""One axis of landmarks, [T, n]."""

Seen = npt.NDArray[np.bool_]
"""Which landmarks are seen, [T, 75]."""

Rows = npt.NDArray[np.int64]
"""Numbers of frames, [samples, parts]."""

_Kind = TypeVar("_Kind", bound=np.generic)

_HANDS: Final = (LEFT_HAND, RIGHT_HAND)
_SHOULDERS: Final = (LEFT_SHOULDER, RIGHT_SHOULDER)
_WRISTS: Final = (LEFT_WRIST, RIGHT_WRIST)
_ARMS: Final = slice(13, 17)  # elbows and wrists of the pose
_STARTS: Final = (POSE.start, LEFT_HAND.start, RIGHT_HAND.start)
_SIZES: Final = np.array([part.stop - part.start for part in (POSE, *_HANDS)])
_MEANS: Final = np.zeros((LANDMARKS, 3), np.float32)
"""Takes the mean over each of the arms and the hands."""
for _column, _part in enumerate((_ARMS, *_HANDS)):
    _MEANS[_part, _column] = 1 / (_part.stop - _part.start)
_COLUMNS: Final = np.arange(LANDMARKS)


def find_seen(points: npt.NDArray[np.floating[Any]]) -> Seen:
    """Return which landmarks are seen, bool [T, 75], of points [T, 75, 3].

    A landmark is missing where a coordinate is not finite, or all are zero; a hand is there as a whole, since its wrist
    may rightly be zero.
    """
    x, y, z = (np.ascontiguousarray(points[..., axis]) for axis in range(AXES))  # numpy is slow along an axis of three
    usable = np.isfinite(x + y + z)
    seen: Seen = ((x != 0) | (y != 0) | (z != 0)) & usable
    for hand in _HANDS:
        seen[:, hand] = seen[:, hand].any(1, keepdims=True) & usable[:, hand]
    return seen


class Visible(NamedTuple):
    """What is seen of a sequence.

    Attributes
    ----------
    frames
        float32 [T, 225], zero where nothing is seen.
    seen
        Which landmarks are, bool [T, 75].
    x, y
        Their places in the picture's plane, float32 [T, 75] each.
    """

    frames: Frames
    seen: Seen
    x: Plane
    y: Plane

    @classmethod
    def of(cls, frames: Frames) -> Visible:
        """Return what is seen of a sequence float32 [T, 225], in which NaN, zeros, or a hand of zeros are missing."""
        seen = find_seen(frames.reshape(-1, LANDMARKS, AXES))
        kept = np.where(np.repeat(seen, AXES, axis=1), frames, np.float32(0))
        x, y = (np.ascontiguousarray(kept[:, axis::AXES]) for axis in (0, 1))
        return cls(kept, seen, x, y)


def excerpt(frames: Frames, samples: int = SAMPLES, visible: Visible | None = None) -> Frames:
    """Return the sign in a sequence, evenly sampled from shortly before its first to shortly after its last movement.

    The first movement is where the arms and hands have left their first posture, not where they are fast: so neither
    the frame rate, nor noise, nor the length of the stillness matters. Sampling runs a little into the stillness, where
    the handshape of a still sign is seen.

    Parameters
    ----------
    frames
        float32 [T, 225]; NaN, zeros, or a hand of zeros are missing.
    samples
        Frames wanted.
    visible
        What is seen of it, where that is known already.

    Returns
    -------
    numpy.ndarray
        float32 [samples, 225], finite; what is missing is zero.
    """
    whole = Visible.of(frames) if visible is None else visible
    shown = _cut(whole.seen)
    frames, seen, x, y = whole.frames[shown], whole.seen[shown], whole.x[shown], whole.y[shown]
    start, stop = _find_movement(x, y, seen)
    for hand in _find_idle_hands(x, y, seen, start, stop):
        frames, seen = frames.copy(), seen.copy()
        frames[:, hand.start * AXES : hand.stop * AXES], seen[:, hand] = 0, False
    hold = HOLD * (stop - start)
    at = np.minimum(np.maximum(np.linspace(start - hold, stop + hold, samples), 0), len(seen) - 1)
    return _sample(frames, seen, at, 1 + GAP * (stop - start))


def excerpts(batch: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64], samples: int = SAMPLES) -> Frames:
    """Return the excerpts float32 [B, samples, 225] of a padded batch [B, T, 225] of sequences of some lengths [B]."""
    return np.stack([excerpt(frames[:length], samples) for frames, length in zip(batch, lengths, strict=True)])


def _cut(seen: Seen) -> slice:
    """Return the frames from where a hand is first seen to where it is last seen; anything, where no hand ever is."""
    there = seen[:, LEFT_HAND.start] | seen[:, RIGHT_HAND.start]
    if not there.any():
        there = np.asarray(seen.any(1))
    if not there.any():
        return slice(0, 1)
    return slice(int(there.argmax()), len(there) - int(there[::-1].argmax()))


def _find_movement(x: Plane, y: Plane, seen: Seen) -> tuple[float, float]:
    """Return when arms and hands have left their first posture, and when they come to their last, in frames."""
    last = len(seen) - 1
    left = _depart(x, y, seen, seen.argmax(0))
    right = _depart(x, y, seen, last - seen[::-1].argmax(0))[::-1]
    farthest = max(left.max(), right.max())
    if farthest == 0:
        return 0.0, float(last)
    start, stop = _cross(left, MOVED * farthest), last - _cross(right, MOVED * farthest)
    return min(start, stop), max(start, stop)


def _depart(x: Plane, y: Plane, seen: Seen, since: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return how far the arms or a hand, whichever more, are from where they were at some frames [75], [T]."""
    across, down = x - x[since, _COLUMNS], y - y[since, _COLUMNS]
    departed: npt.NDArray[np.float32] = np.sqrt((((across * across + down * down) * seen) @ _MEANS).max(1))
    return departed


def _cross(values: npt.NDArray[np.float32], level: float) -> float:
    """Return when values that begin at zero first exceed a level that they do exceed somewhere, else their end."""
    above = values > level
    if not above.any():
        return float(len(values) - 1)
    index = int(above.argmax())
    before, after = float(values[index - 1]), float(values[index])
    return index - 1 + (level - before) / (after - before) if index else 0.0


def _find_idle_hands(x: Plane, y: Plane, seen: Seen, start: float, stop: float) -> list[slice]:
    """Return the hand that only hangs there while the other one signs, if any does."""
    some = slice(int(start), int(np.ceil(stop)) + 1)
    x, y, seen = x[some], y[some], seen[some]
    shoulders = seen[:, LEFT_SHOULDER] & seen[:, RIGHT_SHOULDER]
    if not shoulders.any():
        return []
    width = float(np.abs(x[:, LEFT_SHOULDER] - x[:, RIGHT_SHOULDER])[shoulders].mean())
    moved, highest = [], []  # y points down
    for shoulder, wrist in zip(_SHOULDERS, _WRISTS, strict=True):
        there = seen[:, wrist] & seen[:, shoulder]
        moved.append(_spread(x[:, wrist] - x[:, shoulder], y[:, wrist] - y[:, shoulder], there))
        highest.append(y[seen[:, wrist], wrist].min(initial=np.inf))
    return [
        hand
        for side, (hand, wrist) in enumerate(zip(_HANDS, _WRISTS, strict=True))
        if moved[side] < max(IDLE * moved[1 - side], STILL * width)
        and highest[side] > highest[1 - side] + LOWER * width
        and seen[:, _HANDS[1 - side].start].any()
        and _hangs(x, y, seen, wrist)
    ]


def _spread(x: Plane, y: Plane, there: npt.NDArray[np.bool_]) -> float:
    """Return how far the places [T] of a landmark lie from their centre, root mean square; NaN where it is not seen."""
    number = int(there.sum())
    if not number:
        return np.nan
    squares = 0.0
    for places in (x, y):
        apart = (places - float(places @ there) / number) * there
        squares += float(apart @ apart)
    return float(np.sqrt(squares / number))


def _hangs(x: Plane, y: Plane, seen: Seen, wrist: int) -> bool:
    """Tell whether a forearm hangs down steeply in nearly all frames that show it."""
    elbow = wrist - 2
    there = seen[:, wrist] & seen[:, elbow]
    if not there.any():
        return False
    across, down = x[there, wrist] - x[there, elbow], y[there, wrist] - y[there, elbow]  # y points down
    return bool((down > 1.5 * np.abs(across)).mean() > 0.9)


def _sample(frames: Frames, seen: Seen, at: npt.NDArray[np.float64], longest: float) -> Frames:
    """Return the landmarks at some times [samples, 225], each part of the body between the frames that show it."""
    shown = np.logical_or.reduceat(seen, _STARTS, axis=1)  # (T, parts)
    low, high = _neighbours(shown, at)  # (samples, parts)
    span, at = high - low, at[:, None]
    share = np.minimum(np.maximum((at - low) / np.maximum(span, 1), 0), 1).astype(np.float32)
    near = np.minimum(np.abs(at - low), np.abs(at - high)) <= 0.5
    kept = ((span <= longest) & (at >= low - 0.5) & (at <= high + 0.5) | near) & shown.any(0)
    first, second = _take(frames, low, AXES), _take(frames, high, AXES)
    share = np.repeat(share, _SIZES * AXES, axis=1)
    mixed: Frames = first + share * (second - first)
    if not seen.all():
        both = np.repeat(_take(seen, low) & _take(seen, high), AXES, axis=1)
        mixed = np.where(both, mixed, np.where(share < 0.5, first, second))
    return mixed if kept.all() else mixed * np.repeat(kept, _SIZES * AXES, axis=1)


def _neighbours(shown: npt.NDArray[np.bool_], at: npt.NDArray[np.float64]) -> tuple[Rows, Rows]:
    """Return the last frame that shows a part before each time, and the first after it; the only one where one lacks.

    Parameters
    ----------
    shown
        Bool [T, parts].
    at
        Times from 0 to T - 1, [samples].

    Returns
    -------
    low, high
        int64 [samples, parts].
    """
    frames = len(shown)
    number = np.arange(frames)[:, None]
    before = np.maximum.accumulate(np.where(shown, number, -1), axis=0)
    after = np.minimum.accumulate(np.where(shown, number, frames)[::-1], axis=0)[::-1]
    low, high = before[np.floor(at).astype(np.int64)], after[np.ceil(at).astype(np.int64)]
    low = np.where(low < 0, high, low)
    high = np.where(high == frames, low, high)
    return np.minimum(low, frames - 1), np.minimum(high, frames - 1)  # a part that is never shown


def _take(values: npt.NDArray[_Kind], rows: Rows, each: int = 1) -> npt.NDArray[_Kind]:
    """Return values [samples, 75 * each] of other rows for each part of the body, [samples, parts]."""
    taken = np.empty((len(rows), values.shape[1]), values.dtype)
    for index, part in enumerate((POSE, *_HANDS)):
        columns = slice(part.start * each, part.stop * each)
        taken[:, columns] = values[rows[:, index], columns]
    return taken
