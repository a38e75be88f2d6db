"""Five views of one sequence, for test-time augmentation: itself, mirrored, slower, faster, and with a little noise.

What the views have in common is the sign; what a model makes of them is averaged (Krizhevsky et al., 2012). numpy only,
because this module travels inside the archive. Equal sequences have equal views: the noise is seeded by their content.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

from models.signflow.landmarks import AXES, LANDMARKS, LEFT_HAND, MIRROR, RIGHT_HAND, WIDTH
from models.signflow.sequences import Frames

NAMES: Final = ("identity", "mirror", "slower", "faster", "noise")
"""The views in their order."""

SPEED: Final = 0.05
NOISE: Final = 0.005
"""Largest noise on a coordinate, as a share of how far the seen landmarks reach across the picture."""

Points = npt.NDArray[np.float32]  # (T, 75, 3)
Seen = npt.NDArray[np.bool_]  # (T, 75, 1)


def views(frames: Frames) -> tuple[Frames, ...]:
    """Return the views named in `NAMES`.

    Landmarks that are missing (NaN, zero, or of a hand of zeros) stay missing in each.

    Parameters
    ----------
    frames
        float32 [T, 225].

    Returns
    -------
    tuple of numpy.ndarray
        float32 [T', 225] each; T' is T but for the slower and the faster view: T / 0.95 and T / 1.05, rounded.
    """
    points = frames.reshape(-1, LANDMARKS, AXES)
    seen = _seen(points)
    there = points[seen[..., 0]]  # (seen landmarks, 3)
    if not len(there):
        return (frames,) * len(NAMES)
    x, y = there[:, 0], there[:, 1]
    turned = (
        points,
        _mirror(points, seen, x.mean()),
        _at_speed(points, seen, 1 - SPEED),
        _at_speed(points, seen, 1 + SPEED),
        _noisy(points, seen, NOISE * max(x.max() - x.min(), y.max() - y.min())),
    )
    return tuple(one.reshape(-1, WIDTH) for one in turned)


def _seen(points: Points) -> Seen:
    """Tell seen landmarks as the network does: a hand's wrist may rightly be zero, the hand is there as a whole."""
    usable = np.isfinite(points)
    somewhere = (usable & (points != 0)).any(2, keepdims=True)
    for hand in (LEFT_HAND, RIGHT_HAND):
        somewhere[:, hand] = somewhere[:, hand].any(1, keepdims=True)
    seen: Seen = usable.all(2, keepdims=True) & somewhere
    return seen


def _mirror(points: Points, seen: Seen, middle: np.float32) -> Points:
    """Swap left and right, and turn x about the middle of what is seen, whatever its unit and origin."""
    swapped, there = points[:, MIRROR], seen[:, MIRROR, 0]
    swapped[..., 0] = np.where(there, 2 * middle - swapped[..., 0], swapped[..., 0])
    return swapped


def _at_speed(points: Points, seen: Seen, speed: float) -> Points:
    """Show the sequence at another speed; between a seen and a missing landmark there is nothing, so the nearer is."""
    at = np.linspace(0, len(points) - 1, max(1, round(len(points) / speed)))
    low = at.astype(np.int64)
    high = np.minimum(low + 1, len(points) - 1)
    share = (at - low).astype(np.float32)[:, None, None]
    first, second = points[low], points[high]
    nearer = np.where(share < 0.5, first, second)
    between: Points = np.where(seen[low] & seen[high], first + share * (second - first), nearer)
    return between


def _noisy(points: Points, seen: Seen, most: np.float32) -> Points:
    """Move each seen coordinate by uniform noise up to `most`."""
    rng = np.random.default_rng(zlib.crc32(np.where(seen, points, np.float32(0)).tobytes()))
    noise = rng.random(points.shape, dtype=np.float32) * np.float32(2) - np.float32(1)
    moved: Points = points + np.where(seen, noise * most, np.float32(0))
    return moved
