"""Whether a sequence can be image coordinates of a signer: what is measured of one, and what a wrong one may be.

The bounds are a contract's (``possible`` and ``usual``); training leaves out what serving refuses. numpy only, because
this module travels inside the archive and runs in the serving workers.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.ranges import Range
from models.signflow.excerpt import Seen, Visible
from models.signflow.landmarks import (
    AXES,
    LANDMARKS,
    LEFT_HAND,
    LEFT_SHOULDER,
    LEFT_WRIST,
    NOSE,
    POSE,
    RIGHT_HAND,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
    WIDTH,
)
from models.signflow.sequences import Frames

QUANTITIES: Final = {
    "coordinate": "the mean of |x| and |y|",
    "shoulder_share": "the share of frames with a pose that show both shoulders",
    "face_size": "the size of the pose's face in shoulder widths",
    "hand_size": "the size of a hand in shoulder widths",
    "head_height": "the height of the nose above the shoulders in shoulder widths",
    "wrist_gap": "the distance of each hand's wrist from the pose's wrist of its side, in shoulder widths",
    "wrist_swap": "how much nearer each hand is to the other side's wrist than to its own, in shoulder widths",
    "hips_from_origin": "the distance of the hips from the origin in shoulder widths",
    "hands_from_origin": "the distance of the hands from the origin in sizes of a hand",
    "hand_share": "the share of frames with a hand in view",
    "still_share": "the share of frames equal to the one before",
    "frames": "the number of frames",
}
"""What is measured of a sequence, as text; what cannot be measured of one is absent."""

WORLD: Final = (
    "these look like MediaPipe's world landmarks, metres about the hips or the hand; send image coordinates "
    "(pose_landmarks, not pose_world_landmarks)"
)
SYSTEM: Final = "send pose and hands in one system of coordinates, shares of the picture's width and height"
HINTS: Final = {
    "coordinate": "these look like pixels or percentages; divide x by the picture's width and y by its height, "
    "percentages by 100",
    "head_height": "y runs downwards in a picture; where yours runs upwards send 1 - y",
    "hand_share": "the hands' landmarks come after the pose's 33, 21 of the left hand and 21 of the right",
    "still_share": "a sign is seen in how it moves; send each frame of the recording once",
    "frames": "a sign is seen in how it moves; send all frames of the recording",
}
"""What a quantity out of its range most likely comes from, and what to do."""

Plane = npt.NDArray[np.float32]
"""One axis of landmarks, or sizes of parts, [T, n]; zero where they are not seen."""

_LEFT_HIP, _RIGHT_HIP = 23, 24
_FACE: Final = slice(0, 11)  # of the pose
_OWN: Final = ((LEFT_HAND.start, LEFT_WRIST, RIGHT_WRIST), (RIGHT_HAND.start, RIGHT_WRIST, LEFT_WRIST))
_PARTS: Final = {"pose": POSE, "left hand": LEFT_HAND, "right hand": RIGHT_HAND}
_MEANS: Final = np.zeros((LANDMARKS, 3), np.float32)
"""Takes the mean over the face and each hand."""
for _column, _part in enumerate((_FACE, LEFT_HAND, RIGHT_HAND)):
    _MEANS[_part, _column] = 1 / (_part.stop - _part.start)
_PLACES: Final = ("hips_from_origin", "hands_from_origin")
_LAYOUT: Final = ("shoulder_share", "face_size", "hand_size", "wrist_gap", "wrist_swap", *_PLACES)
"""Quantities that a wrong order of the numbers disturbs."""

_SMALLEST: Final = 1e-6
_EXPLAINED: Final = 64  # frames of a long sequence that other layouts are tried on
_NEAR: Final = 0.7  # shoulder widths, or sizes of a hand; farther from the origin nothing is taken for world landmarks


class Doubt(NamedTuple):
    """A quantity out of its range: its name, what was expected, what came, and what to do."""

    name: str
    expected: str
    received: str
    hint: str


def measure(frames: Frames, visible: Visible | None = None) -> dict[str, float]:
    """Return the quantities of a sequence float32 [T, 225] that can be measured, by their names in `QUANTITIES`.

    Nothing is measured of a sequence in which nothing is seen. Sizes and distances are means over the frames that show
    what they are of, in the picture's plane. A hand whose wrist is exactly at the origin was recorded relative to it;
    where and how large it is cannot be said. `visible` is what is seen of the sequence, where that is known already.
    """
    _, seen, x, y = visible or Visible.of(frames)
    count = int(np.count_nonzero(seen))
    if not count:
        return {}
    measured = {"coordinate": float(np.abs(x).sum() + np.abs(y).sum()) / (2 * count), "frames": float(len(frames))}
    posed = np.asarray(seen[:, POSE].any(1))
    measured |= _measure_time(x, seen, posed)
    shoulders = seen[:, LEFT_SHOULDER] & seen[:, RIGHT_SHOULDER]
    showing, width = int(np.count_nonzero(shoulders)), 0.0
    if posed.any():
        measured["shoulder_share"] = showing / int(np.count_nonzero(posed))
    sizes, centres = _sizes(x, y)
    if showing:
        across = _distance(x, y, LEFT_SHOULDER, RIGHT_SHOULDER)
        width = max(float(across @ shoulders) / showing, _SMALLEST)
        measured |= _measure_body(x, y, seen, shoulders, width)
        if number := int(np.count_nonzero(face := seen[:, _FACE].all(1))):
            measured["face_size"] = float(sizes[:, 0] @ face) / number / width
    return measured | _measure_hands(x, y, seen, sizes, centres, width)


def find_doubts(frames: Frames, measured: Mapping[str, float], ranges: Mapping[str, Range]) -> Iterator[Doubt]:
    """Yield the measured quantities of a sequence that are out of their ranges; those without a range never are."""
    for name, value in measured.items():
        if not _within(value, ranges.get(name)):
            expected = f"{QUANTITIES[name]} to be {_phrase(*ranges[name])}"
            yield Doubt(name, expected, f"{value:.3g}", _explain(frames, name, measured, ranges))


def _measure_time(x: Plane, seen: Seen, posed: npt.NDArray[np.bool_]) -> dict[str, float]:
    hands = seen[:, LEFT_HAND.start] | seen[:, RIGHT_HAND.start]
    there = np.flatnonzero(posed | hands)
    shown = slice(int(there[0]), int(there[-1]) + 1)
    measured = {"hand_share": float(np.count_nonzero(hands)) / (shown.stop - shown.start)}
    if len(there) > 1:
        still = (x[shown][1:] == x[shown][:-1]).all(1) & (posed | hands)[shown][1:]
        measured["still_share"] = float(np.count_nonzero(still)) / len(still)
    return measured


def _measure_body(x: Plane, y: Plane, seen: Seen, shoulders: npt.NDArray[np.bool_], width: float) -> dict[str, float]:
    measured = {}
    nose = shoulders & seen[:, NOSE]
    if number := int(np.count_nonzero(nose)):
        above = (y[:, LEFT_SHOULDER] + y[:, RIGHT_SHOULDER]) / 2 - y[:, NOSE]
        measured["head_height"] = float(above @ nose) / number / width
    own, swap, counts, pairs = 0.0, 0.0, 0, 0
    for hand, wrist, other in _OWN:
        there = seen[:, hand] & seen[:, wrist] & ((x[:, hand] != 0) | (y[:, hand] != 0))
        gaps = _distance(x, y, hand, wrist)
        own, counts = own + float(gaps @ there), counts + int(np.count_nonzero(there))
        there &= seen[:, other]
        swap += float((gaps - _distance(x, y, hand, other)) @ there)
        pairs += int(np.count_nonzero(there))
    if counts:
        measured["wrist_gap"] = own / counts / width
    if pairs:
        measured["wrist_swap"] = swap / pairs / width
    hips = seen[:, _LEFT_HIP] & seen[:, _RIGHT_HIP]
    if number := int(np.count_nonzero(hips)):
        middle = np.hypot(x[:, _LEFT_HIP] + x[:, _RIGHT_HIP], y[:, _LEFT_HIP] + y[:, _RIGHT_HIP]) / 2
        measured["hips_from_origin"] = float(middle @ hips) / number / width
    return measured


def _measure_hands(x: Plane, y: Plane, seen: Seen, sizes: Plane, centres: Plane, width: float) -> dict[str, float]:
    far, size, counts = 0.0, 0.0, 0
    for index, hand in enumerate((LEFT_HAND.start, RIGHT_HAND.start), 1):
        there = seen[:, hand] & ((x[:, hand] != 0) | (y[:, hand] != 0))
        if number := int(np.count_nonzero(there)):
            far += float((centres[:, index] / np.maximum(sizes[:, index], _SMALLEST)) @ there)
            size, counts = size + float(sizes[:, index] @ there), counts + number
    if not counts:
        return {}
    return {"hands_from_origin": far / counts, **({"hand_size": size / counts / width} if width else {})}


def _sizes(x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Measure face, left and right hand in each frame, as if all of their landmarks were seen.

    Returns
    -------
    sizes, centres
        float32 [T, 3]: how far their landmarks lie from their centre, root mean square, and that from the origin.
    """
    means = np.stack((x, y, x * x, y * y)) @ _MEANS
    squares = means[:2] * means[:2]
    return np.sqrt(np.maximum((means[2:] - squares).sum(0), 0)), np.sqrt(squares.sum(0))


def _distance(x: Plane, y: Plane, first: int, second: int) -> Plane:
    distance: Plane = np.hypot(x[:, first] - x[:, second], y[:, first] - y[:, second])
    return distance


def _phrase(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"


def _explain(frames: Frames, name: str, measured: Mapping[str, float], ranges: Mapping[str, Range]) -> str:
    """Return what a sequence with a quantity out of its range may be, and what to do."""
    if name not in _LAYOUT:
        return HINTS[name]
    fitting = {}
    frames = frames[:: -(-len(frames) // _EXPLAINED)]
    for reading, order in _readings().items():
        again = measure(np.ascontiguousarray(frames[:, order]))
        upright = again.get("head_height", 0) > 0 and "wrist_gap" in again
        # A reading of which less can be measured fits anything.
        whole = all(one in again for one in _LAYOUT if one in measured)
        if upright and whole and all(_within(again.get(one), ranges.get(one)) for one in _LAYOUT):
            fitting[again["wrist_gap"]] = reading
    if fitting:
        read = fitting[min(fitting)]
        return f"it fits when read as {read}; send pose, left hand, right hand, and x, y, z of each landmark"
    return WORLD if min(measured.get(one, np.inf) for one in _PLACES) < _NEAR else SYSTEM


def _within(value: float | None, bounds: Range | None) -> bool:
    low, high = bounds or (None, None)
    return value is None or ((low is None or value >= low) and (high is None or value <= high))


@functools.cache
def _readings() -> dict[str, npt.NDArray[np.int64]]:
    """Return other layouts of a frame, each with the positions in it of what is expected."""
    usual = np.arange(WIDTH).reshape(LANDMARKS, AXES)
    readings = {"all x, then all y, then all z": usual.reshape(AXES, LANDMARKS).T.ravel()}
    for names in itertools.permutations(_PARTS):
        sizes = [_PARTS[name].stop - _PARTS[name].start for name in names]
        parts = dict(zip(names, np.split(usual, np.cumsum(sizes)[:-1]), strict=True))
        readings[", ".join(names)] = np.concatenate([parts[name] for name in _PARTS]).ravel()
    del readings[", ".join(_PARTS)]
    return readings
