"""Speed of a hand: the same whatever the frame rate, the camera's distance and what is missing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.products.live.motion import Look, Motion, look_at, observe

SPEED = 1.0


def frame(x: float, width: float = 0.25) -> npt.NDArray[np.float16]:
    """Return a person whose right hand is at x shoulder widths from the middle."""
    points = np.zeros((75, 3))
    points[11], points[12] = (0.5 + width / 2, 0.5, 0), (0.5 - width / 2, 0.5, 0)
    points[54:75] = (0.5 + width * x, 0.7, 0)
    return points.reshape(-1).astype(np.float16)


def motions(frames: list[npt.NDArray[np.float16]], per_second: float) -> list[Motion]:
    history: tuple[Look, ...] = ()
    found = []
    for index, one in enumerate(frames):
        history, motion = observe(history, look_at(index / per_second, one))
        found.append(motion)
    return found


@pytest.mark.parametrize("per_second", [15, 30, 60])
@pytest.mark.parametrize("width", [0.1, 0.25, 0.5])
def test_speed_is_in_shoulder_widths_a_second(per_second: int, width: float) -> None:
    frames = [frame(SPEED * index / per_second - 0.5, width) for index in range(per_second)]
    assert motions(frames, per_second)[-1].speed == pytest.approx(SPEED, abs=0.1)


@settings(deadline=None)
@given(st.sets(st.integers(0, 29), max_size=10))
def test_lost_hands_are_no_movement(lost: set[int]) -> None:
    frames = [frame(0.3) for _ in range(30)]
    for index in lost:
        frames[index][162:] = 0
    found = motions(frames, 30)
    assert all(motion.speed < 0.01 for motion in found)
    assert [motion.hand for motion in found] == [index not in lost for index in range(30)]


def test_missing_landmarks_are_no_error() -> None:
    """NaN and zeros, without shoulders too."""
    empty, missing = np.zeros(225, np.float16), np.full(225, np.nan, np.float16)
    assert [motion.hand for motion in motions([empty, missing, empty], 30)] == [False, False, False]


def test_what_is_kept_is_bounded() -> None:
    history: tuple[Look, ...] = ()
    for index in range(1000):
        history, _ = observe(history, look_at(index / 60, frame(0)))
    assert len(history) < 25
