"""What a sequence of landmarks is like, in numbers that say nothing of who signs, or what."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.signflow.excerpt import Visible
from models.signflow.landmarks import LEFT_HAND, RIGHT_HAND
from models.signflow.plausibility import QUANTITIES, measure
from models.signflow.sequences import Frames

SUMMARY: Final = (*QUANTITIES, "left_hand_share", "right_hand_share")
"""What `models.signflow.plausibility.QUANTITIES` defines, and the share of all frames that show each hand."""


def measure_hands(visible: Visible) -> tuple[float, float]:
    """Return the share of frames that show the left hand, and the right one."""
    left, right = (visible.seen[:, hand.start].mean() for hand in (LEFT_HAND, RIGHT_HAND))
    return float(left), float(right)


def summarise(measured: Mapping[str, float], hands: tuple[float, float]) -> NDArray[np.float32]:
    """Return the summary of a sequence, float32 [14] in the order of `SUMMARY`; NaN is what could not be measured.

    Parameters
    ----------
    measured
        By `models.signflow.plausibility.measure`.
    hands
        By `measure_hands`.
    """
    nothing = float("nan")
    return np.array([*(measured.get(name, nothing) for name in QUANTITIES), *hands], np.float32)


def summarise_frames(frames: Frames) -> NDArray[np.float32]:
    """Return the summary of a sequence float32 [T, 225] as it came."""
    visible = Visible.of(frames)
    return summarise(measure(frames, visible), measure_hands(visible))
