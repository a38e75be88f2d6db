"""How much the hands move, frame by frame: pure functions over what was seen a moment ago.

A hand is followed by six places: its palm, and each finger. Places are measured from between the shoulders and in
shoulder widths, so neither the camera's distance nor the picture's format counts. A place is averaged over a few
frames, because landmarks tremble by more per frame than a slow hand moves. Numbers are per second, whatever the frame
rate.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.signflow.landmarks import LANDMARKS, LEFT_HAND, LEFT_SHOULDER, RIGHT_HAND, RIGHT_SHOULDER

PLACES: Final = 6
"""Of each hand: its palm (wrist and knuckles), and the rest of five fingers."""

SMOOTHED_S: Final = 0.1
"""Over how long places are averaged."""

APART_S: Final = 0.2
"""How far apart the two averages are that are compared."""

KEPT_S: Final = SMOOTHED_S + APART_S
HALVES: Final = 2
LEAST_WIDTH: Final = 0.02
"""Shoulders nearer to each other than this, in picture widths, are not measured by."""

USUAL_WIDTH: Final = 0.25
"""What is taken for a shoulder width where shoulders are not seen."""

Array = npt.NDArray[Any]


def _means() -> npt.NDArray[np.float32]:
    groups = [[0, 5, 9, 13, 17], [1, 2, 3, 4], [6, 7, 8], [10, 11, 12], [14, 15, 16], [18, 19, 20]]
    means = np.zeros((2 * PLACES, LANDMARKS), np.float32)
    for side, hand in enumerate((LEFT_HAND, RIGHT_HAND)):
        for row, group in enumerate(groups):
            means[PLACES * side + row, [hand.start + one for one in group]] = 1 / len(group)
    return means


_MEANS: Final = _means()


class Look(NamedTuple):
    """What of one frame counts here.

    Attributes
    ----------
    at
        Its time, s.
    seen
        Whether the left hand is in view, and the right one.
    places
        Of both hands, in shoulder widths from between the shoulders, float32 [12, 2].
    """

    at: float
    seen: tuple[bool, bool]
    places: Array


class Motion(NamedTuple):
    """What the state machine is told of a frame.

    Attributes
    ----------
    at
        Its time, s.
    hand
        Whether a hand is in view.
    speed
        Of the hand that moves more, shoulder widths a second; 0 while it is not known.
    """

    at: float
    hand: bool
    speed: float


def look_at(at: float, landmarks: Array) -> Look:
    """Measure one frame, [225]; NaN and zeros are missing."""
    plane = np.nan_to_num(landmarks.astype(np.float32).reshape(LANDMARKS, 3)[:, :2])
    seen = (bool(plane[LEFT_HAND].any()), bool(plane[RIGHT_HAND].any()))
    left, right = plane[LEFT_SHOULDER], plane[RIGHT_SHOULDER]
    middle, width = (left + right) / 2, float(np.hypot(*(left - right)))
    if not left.any() or not right.any() or width < LEAST_WIDTH:
        middle, width = np.zeros(2, np.float32), USUAL_WIDTH
    return Look(at, seen, (_MEANS @ plane - middle) / width)


def observe(history: tuple[Look, ...], look: Look) -> tuple[tuple[Look, ...], Motion]:
    """Add what was seen to what was seen before; return what is still needed, and how much moves.

    Parameters
    ----------
    history
        What this returned for the frame before; empty at first.
    look
        The frame's.
    """
    history = (*(one for one in history if look.at - KEPT_S <= one.at <= look.at), look)
    speeds = [_speed(history, side) for side in range(2)]
    return history, Motion(look.at, any(look.seen), max(speeds))


def _speed(history: tuple[Look, ...], side: int) -> float:
    """Return how fast a hand moves, by two averages of the frames that show it."""
    newest = history[-1].at
    shown = [one for one in history if one.seen[side]]
    late = [one for one in shown if one.at > newest - SMOOTHED_S]
    early = [one for one in shown if one.at <= newest - APART_S]
    if not late or not early:
        return 0.0
    own = slice(PLACES * side, PLACES * (side + 1))
    moved = sum(one.places[own] for one in late) / len(late) - sum(one.places[own] for one in early) / len(early)
    apart = sum(one.at for one in late) / len(late) - sum(one.at for one in early) / len(early)
    return float(np.sqrt((np.asarray(moved) ** 2).sum(1)).mean()) / apart
