"""How much the hands move, frame by frame: pure functions over what was seen a moment ago.

A hand is followed by six places: its palm, and each finger. Places are measured from between the shoulders and in
shoulder widths, so neither the camera's distance nor the picture's format counts. A place is averaged over a few
frames, because landmarks tremble by more per frame than a slow hand moves. Numbers are per second, whatever the frame
rate.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.signflow.landmarks import AXES, LEFT_HAND, LEFT_SHOULDER, RIGHT_HAND, RIGHT_SHOULDER, WIDTH

PLACES: Final = 6
"""Of each hand: its palm (wrist and knuckles), and the rest of five fingers."""

SMOOTHED_S: Final = 0.1
"""Over how long places are averaged."""

APART_S: Final = 0.2
"""How far apart the two averages are that are compared."""

KEPT_S: Final = SMOOTHED_S + APART_S
LEAST_WIDTH: Final = 0.02
"""Shoulders nearer to each other than this, in picture widths, are not measured by."""

USUAL_WIDTH: Final = 0.25
"""What is taken for a shoulder width where shoulders are not seen."""

Array = npt.NDArray[Any]


def _means() -> npt.NDArray[np.float32]:
    """Return what makes of a frame [225] the x and y of both hands' places, and of both shoulders: [28, 225]."""
    groups = [[0, 5, 9, 13, 17], [1, 2, 3, 4], [6, 7, 8], [10, 11, 12], [14, 15, 16], [18, 19, 20]]
    points = [[hand.start + one for one in group] for hand in (LEFT_HAND, RIGHT_HAND) for group in groups]
    points += [[LEFT_SHOULDER], [RIGHT_SHOULDER]]
    means = np.zeros((2 * len(points), WIDTH), np.float32)
    for row, group in enumerate(points):
        for axis in range(2):
            means[2 * row + axis, [AXES * point + axis for point in group]] = 1 / len(group)
    return means


_MEANS: Final = _means()
_HAND: Final = 2 * PLACES


class Look(NamedTuple):
    """What of one frame counts here.

    Attributes
    ----------
    at
        Its time, s.
    seen
        Whether the left hand is in view, and the right one.
    places
        Of the left hand, and of the right one: six x, then six y, in shoulder widths from between the shoulders.
    """

    at: float
    seen: tuple[bool, bool]
    places: tuple[list[float], list[float]]


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
    frame = landmarks.astype(np.float32)
    if math.isnan(float(frame.sum())):
        frame = np.nan_to_num(frame)
    means: list[float] = (_MEANS @ frame).tolist()
    x, y, other_x, other_y = means[-4:]
    middle_x, middle_y, width = (x + other_x) / 2, (y + other_y) / 2, math.hypot(x - other_x, y - other_y)
    if not (x or y) or not (other_x or other_y) or width < LEAST_WIDTH:
        middle_x, middle_y, width = 0.0, 0.0, USUAL_WIDTH
    seen, places = [], []
    for fingers in (means[:_HAND], means[_HAND : 2 * _HAND]):
        seen.append(any(fingers))
        left = [(one - middle_x) / width for one in fingers[::2]]
        places.append([*left, *[(one - middle_y) / width for one in fingers[1::2]]])
    return Look(at, (seen[0], seen[1]), (places[0], places[1]))


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
    if not any(one.seen[side] for one in history):
        return 0.0
    late = [one for one in history if one.seen[side] and one.at > newest - SMOOTHED_S]
    early = [one for one in history if one.seen[side] and one.at <= newest - APART_S]
    if not late or not early:
        return 0.0
    apart = sum([one.at for one in late]) / len(late) - sum([one.at for one in early]) / len(early)
    now, before = _mean(late, side), _mean(early, side)
    moved = [one - other for one, other in zip(now, before, strict=True)]
    return sum(map(math.hypot, moved[:PLACES], moved[PLACES:])) / PLACES / apart


def _mean(looks: list[Look], side: int) -> list[float]:
    return [sum(values) / len(looks) for values in zip(*[one.places[side] for one in looks], strict=True)]
