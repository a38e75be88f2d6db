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
    hands
        Of the left hand, and of the right one: its six places, x + iy in shoulder widths from between the shoulders;
        none where it is not in view.
    """

    at: float
    hands: tuple[list[complex], list[complex]]


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
    points: list[complex] = _MEANS.dot(frame).view(np.complex64).tolist()
    if math.isnan(points[0].real):  # one NaN anywhere makes all of them NaN
        points = _MEANS.dot(np.nan_to_num(frame)).view(np.complex64).tolist()
    one, other = points[2 * PLACES :]
    middle, width = (one + other) / 2, abs(one - other)
    if not one or not other or width < LEAST_WIDTH:
        middle, width = 0j, USUAL_WIDTH
    left, right = points[:PLACES], points[PLACES : 2 * PLACES]
    return Look(at, (_places(left, middle, width), _places(right, middle, width)))


def _places(points: list[complex], middle: complex, width: float) -> list[complex]:
    return [(point - middle) / width for point in points] if any(points) else []


def observe(history: tuple[Look, ...], look: Look) -> tuple[tuple[Look, ...], Motion]:
    """Add what was seen to what was seen before; return what is still needed, and how much moves.

    Parameters
    ----------
    history
        What this returned for the frame before; empty at first.
    look
        The frame's, whose time is not before that of any of them.
    """
    first = 0
    while first < len(history) and history[first].at < look.at - KEPT_S:
        first += 1
    history = (*history[first:], look)
    left, right = look.hands
    return history, Motion(look.at, bool(left or right), max(_speed(history, 0), _speed(history, 1)))


def _speed(history: tuple[Look, ...], side: int) -> float:
    """Return how fast a hand moves, by two averages of the frames that show it."""
    shown = [(at, hands[side]) for at, hands in history if hands[side]]
    late_from, early_to = history[-1].at - SMOOTHED_S, history[-1].at - APART_S
    late = [one for one in shown if one[0] > late_from]
    early = [one for one in shown if one[0] <= early_to]
    if not late or not early:
        return 0.0
    apart = sum([at for at, _ in late]) / len(late) - sum([at for at, _ in early]) / len(early)
    moved = [abs(now - before) for now, before in zip(_mean(late), _mean(early), strict=True)]
    return sum(moved) / PLACES / apart


def _mean(shown: list[tuple[float, list[complex]]]) -> list[complex]:
    return [sum(values) / len(shown) for values in zip(*[places for _, places in shown], strict=True)]
