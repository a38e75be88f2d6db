"""The 75 landmarks of a frame: their order, the anatomical graph over them, and what a mirror does to them.

The order is MediaPipe Holistic's without the face mesh: 33 pose landmarks, 21 of the left hand, 21 of the right hand.
"Left" is the signer's own left. Names follow MediaPipe's documentation.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

POSE_NAMES: Final = (
    "nose",
    *("left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
    *("left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky"),
    *("left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel"),
    *("left_foot_index", "right_foot_index"),
)
FINGERS: Final = ("thumb", "index", "middle", "ring", "pinky")
HAND_NAMES: Final = ("wrist", *(f"{finger}_{joint}" for finger in FINGERS for joint in range(1, 5)))

NAMES: Final = (
    *(f"pose_{name}" for name in POSE_NAMES),
    *(f"left_hand_{name}" for name in HAND_NAMES),
    *(f"right_hand_{name}" for name in HAND_NAMES),
)
"""One name per landmark, in the order of the array."""

LANDMARKS: Final = len(NAMES)
AXES: Final = 3
WIDTH: Final = LANDMARKS * AXES
"""Floats per frame: 225."""

POSE: Final = slice(0, 33)
LEFT_HAND: Final = slice(33, 54)
RIGHT_HAND: Final = slice(54, 75)

NOSE: Final = 0
LEFT_SHOULDER: Final = 11
RIGHT_SHOULDER: Final = 12
LEFT_WRIST: Final = 15
RIGHT_WRIST: Final = 16

POSE_EDGES: Final = (
    *((0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10), (0, 9), (0, 10)),  # head
    *((11, 12), (11, 23), (12, 24), (23, 24), (0, 11), (0, 12)),  # trunk and neck
    *((11, 13), (13, 15), (15, 17), (15, 19), (15, 21), (17, 19)),  # left arm
    *((12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20)),  # right arm
    *((23, 25), (25, 27), (27, 29), (27, 31), (29, 31)),  # left leg
    *((24, 26), (26, 28), (28, 30), (28, 32), (30, 32)),  # right leg
)
HAND_EDGES: Final = (
    *((0, 1), (0, 5), (0, 9), (0, 13), (0, 17)),  # wrist to each finger's base
    *((1, 2), (2, 3), (3, 4), (5, 6), (6, 7), (7, 8), (9, 10), (10, 11), (11, 12)),  # thumb, index, middle
    *((13, 14), (14, 15), (15, 16), (17, 18), (18, 19), (19, 20)),  # ring, pinky
    *((5, 9), (9, 13), (13, 17)),  # the palm
)
EDGES: Final = (
    *POSE_EDGES,
    *((LEFT_HAND.start + a, LEFT_HAND.start + b) for a, b in HAND_EDGES),
    *((RIGHT_HAND.start + a, RIGHT_HAND.start + b) for a, b in HAND_EDGES),
    (LEFT_WRIST, LEFT_HAND.start),
    (RIGHT_WRIST, RIGHT_HAND.start),
)
"""Undirected edges (a, b) of the anatomical graph: pose skeleton, finger bones, each pose wrist with its hand."""


def _mirror(name: str) -> str:
    swapped = {"left": "right", "right": "left"}
    return "_".join(swapped.get(word, word) for word in name.split("_"))


MIRROR: Final[npt.NDArray[np.int64]] = np.array([NAMES.index(_mirror(name)) for name in NAMES], dtype=np.int64)
"""``frame[MIRROR]`` swaps left and right; together with ``x -> -x`` it is the signer seen in a mirror."""
