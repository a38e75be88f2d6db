"""A jointed body: where its 75 landmarks are, given where the wrists are and how the hands are held.

Body coordinates: origin between the shoulders, one shoulder width as the unit, x to the signer's left (the picture's
right), y down, z away from the camera. Everything is vectorised over frames F.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.signflow.landmarks import AXES, LANDMARKS, LEFT_HAND, POSE, RIGHT_HAND

Points = npt.NDArray[Any]

UPPER_ARM: Final = 0.80  # shoulder widths, as all lengths here; proportions after Winter, Biomechanics (2009)
FOREARM: Final = 0.68
HAND: Final = 0.25  # wrist to the base of the middle finger

_RIGHT_SHOULDER = np.array([-0.5, 0.0, 0.0])
_MIRROR_X = np.array([-1.0, 1.0, 1.0])

# The trunk, head and legs at rest, right side and middle; the left side is its mirror image.
_HEAD = {0: (0, -0.75, -0.25), 4: (-0.05, -0.86, -0.2), 5: (-0.09, -0.86, -0.19), 6: (-0.12, -0.86, -0.17)}
_HEAD |= {8: (-0.2, -0.82, 0.05), 10: (-0.07, -0.6, -0.2)}
_LEGS = {
    24: (-0.32, 1.4, 0),
    26: (-0.34, 2.45, -0.05),
    28: (-0.34, 3.4, 0.1),
    30: (-0.34, 3.5, 0.15),
    32: (-0.4, 3.6, -0.1),
}
_LEFT_OF = {4: 1, 5: 2, 6: 3, 8: 7, 10: 9, 24: 23, 26: 25, 28: 27, 30: 29, 32: 31}

# A right hand, fingers up, palm to the camera, in units of HAND: base of each finger and its three bones' lengths.
_BASES = np.array([[0.22, -0.2, -0.05], [0.25, -0.92, 0], [0.04, -1.0, 0], [-0.15, -0.93, 0], [-0.32, -0.8, 0]])
_BONES = np.array([[0.38, 0.32, 0.27], [0.44, 0.27, 0.2], [0.48, 0.31, 0.21], [0.44, 0.29, 0.2], [0.34, 0.2, 0.18]])
_CURL = np.array([[40, 55, 60], [80, 100, 60], [80, 100, 60], [80, 100, 60], [80, 100, 60]]) * np.pi / 180
_SPREAD = np.array([0.0, 0.25, 0.03, -0.2, -0.4])


def still_body() -> Points:
    """Return the landmarks that do not move on their own, [33, 3]; arms are left at zero."""
    body = np.zeros((POSE.stop, AXES))
    for index, place in (_HEAD | _LEGS | {12: tuple(_RIGHT_SHOULDER)}).items():
        body[index] = place
        if index:
            body[_LEFT_OF.get(index, index - 1)] = np.array(place) * _MIRROR_X
    return body


def right_arm(wrist: Points, swivel: Points) -> tuple[Points, Points]:
    """Bend a right arm so that its wrist is where it should be.

    Parameters
    ----------
    wrist
        Wanted place, [F, 3]; drawn in where out of reach.
    swivel
        Angle of the elbow about the line from shoulder to wrist, radians, [F]; 0 hangs down.

    Returns
    -------
    elbow, wrist : numpy.ndarray
        [F, 3] each.
    """
    reach = wrist - _RIGHT_SHOULDER
    distance = np.linalg.norm(reach, axis=-1, keepdims=True)
    along = reach / np.maximum(distance, 1e-6)
    distance = np.clip(distance, 0.25, 0.99 * (UPPER_ARM + FOREARM))
    foot = (UPPER_ARM**2 - FOREARM**2 + distance**2) / (
        2 * distance
    )  # of the elbow's height on the line, law of cosines
    height = np.sqrt(np.maximum(UPPER_ARM**2 - foot**2, 0))
    down = np.array([-0.35, 1.0, 0.25])  # an elbow hangs down and a little out and back
    down = down - (along @ down)[:, None] * along
    down /= np.maximum(np.linalg.norm(down, axis=-1, keepdims=True), 1e-6)
    aside = np.cross(along, down)
    out = np.cos(swivel)[:, None] * down + np.sin(swivel)[:, None] * aside
    return _RIGHT_SHOULDER + along * foot + out * height, _RIGHT_SHOULDER + along * distance


def right_hand(wrist: Points, turn: Points, curl: Points, spread: Points, size: Points) -> Points:
    """Place a right hand's 21 landmarks.

    Parameters
    ----------
    wrist
        [F, 3].
    turn
        Rotation of the hand from "fingers up, palm to the camera", [F, 3, 3].
    curl
        How far each finger, thumb first, is curled, 0 to 1, [F, 5].
    spread
        How far the fingers are spread, 0 to 1, [F].
    size
        In hands of usual size, [F].

    Returns
    -------
    numpy.ndarray
        [F, 21, 3].
    """
    bend = np.cumsum(curl[:, :, None] * _CURL, axis=-1)  # (F, 5, 3): angle of each bone against the palm
    side = spread[:, None, None] * _SPREAD[:, None]
    directions = np.stack([np.sin(side) * np.cos(bend), -np.cos(side) * np.cos(bend), -np.sin(bend)], axis=-1)
    # the thumb points aside when stretched and closes across the palm
    angle = 0.9 - bend[:, 0] * 0.9 + 0.25 * spread[:, None]
    directions[:, 0] = np.stack([np.sin(angle), -np.cos(angle), -0.4 * np.sin(bend[:, 0])], axis=-1)
    joints = _BASES[None, :, None] + np.cumsum(directions * _BONES[:, :, None], axis=2)  # (F, 5, 3, 3)
    fingers = np.concatenate([np.broadcast_to(_BASES[:, None], (len(wrist), 5, 1, AXES)), joints], axis=2)
    hand = np.concatenate([np.zeros((len(wrist), 1, AXES)), fingers.reshape(len(wrist), 20, AXES)], axis=1)
    placed: Points = (
        wrist[:, None] + np.einsum("flj,fij->fli", hand, turn, optimize=True) * (HAND * size)[:, None, None]
    )
    return placed


def assemble(body: Points, elbows: Points, hands: Points) -> Points:
    """Put a frame together.

    Parameters
    ----------
    body
        From `still_body`, moved or not, [F, 33, 3].
    elbows
        Right, left, each seen as a right arm, [2, F, 3].
    hands
        Right, left, each seen as a right hand, [2, F, 21, 3].

    Returns
    -------
    numpy.ndarray
        [F, 75, 3].
    """
    frame = np.zeros((len(body), LANDMARKS, AXES))
    frame[:, POSE] = body
    for side, part in enumerate((RIGHT_HAND, LEFT_HAND)):
        factor = _MIRROR_X if side else 1.0
        hand = hands[side] * factor
        frame[:, part] = hand
        frame[:, 14 - side] = elbows[side] * factor
        for first, landmark in ((16, 0), (18, 17), (20, 5), (22, 2)):  # wrist, pinky, index, thumb of the pose
            frame[:, first - side] = hand[:, landmark]
    return frame


def rotations(angles: Points) -> Points:
    """Return rotation matrices [..., 3, 3] of angles [..., 3] about x, y and z, in that order."""
    cos, sin = np.cos(angles), np.sin(angles)
    (cx, cy, cz), (sx, sy, sz) = np.moveaxis(cos, -1, 0), np.moveaxis(sin, -1, 0)
    rows = [
        [cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz],
        [cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz],
        [-sy, sx * cy, cx * cy],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
