"""Frames as they travel: one binary message of 462 bytes each, and the bounded ring that a session keeps of them.

A message is little-endian: the frame's number (uint32), the sender's time in milliseconds (float64), and 225 float16,
the 75 landmarks x (x, y, z) of `models.signflow.landmarks`. A float16 between 0.25 and 1 is exact to 0.0005: half a
pixel of a picture 1000 wide.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from archives.errors import MarinaError
from models.signflow.landmarks import WIDTH

HEAD: Final = struct.Struct("<Id")
MESSAGE_BYTES: Final = HEAD.size + 2 * WIDTH
MOST_FRAMES: Final = 300
"""Of the ring: five seconds at 60 a second, 132 kB a session."""

FAR: Final = 100.0
"""Largest magnitude of a coordinate; image coordinates are near 1."""

Landmarks = npt.NDArray[np.float16]
"""One frame, float16 [225]."""


class FrameError(MarinaError):
    """A message is no frame; its text says what was expected and what came."""


class Frame(NamedTuple):
    """One frame of a stream.

    Attributes
    ----------
    number
        Its place in the stream: each is larger than the one before.
    at
        The sender's time, s.
    landmarks
        float16 [225]; zeros or NaN are missing.
    """

    number: int
    at: float
    landmarks: Landmarks


def pack(number: int, at: float, landmarks: npt.NDArray[Any]) -> bytes:
    """Return the message of a frame: its number, its time in seconds, and its landmarks [225] or [75, 3]."""
    return HEAD.pack(number, 1000 * at) + np.asarray(landmarks, "<f2").tobytes()


def unpack(message: bytes) -> Frame:
    """Read a message.

    Raises
    ------
    FrameError
        If it is anything else: another length, a time that is no number, coordinates that are no image's.
    """
    if len(message) != MESSAGE_BYTES:
        layout = f"uint32 number, float64 milliseconds, {WIDTH} float16"
        raise FrameError(f"frame: expected {MESSAGE_BYTES} bytes ({layout}), got {len(message)}")
    number, milliseconds = HEAD.unpack_from(message)
    if not math.isfinite(milliseconds):
        raise FrameError(f"frame {number}: expected its time in milliseconds, got {milliseconds}")
    landmarks = np.frombuffer(message, "<f2", WIDTH, HEAD.size)
    if float(np.fmax.reduce(np.abs(landmarks))) > FAR:  # which is NaN only where all are
        raise FrameError(
            f"frame {number}: expected shares of the picture, got one beyond {FAR:.0f}; divide x by the picture's width"
        )
    return Frame(number, milliseconds / 1000, landmarks)


class Ring:
    """The newest frames of one session, never more than `MOST_FRAMES`.

    Frames that come again, as after a reconnection, are left out; so are those that are older than one that is there.
    """

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque(maxlen=MOST_FRAMES)
        self.received = -1
        """Number of the newest frame; -1 before the first."""

    def add(self, frame: Frame) -> bool:
        """Keep a frame; return whether it is new."""
        if frame.number <= self.received:
            return False
        self.received = frame.number
        self._frames.append(frame)
        return True

    def since(self, at: float) -> npt.NDArray[np.float32]:
        """Return the frames of a time and later, float32 [T, 225]."""
        kept = [frame.landmarks for frame in self._frames if frame.at >= at]
        return np.array(kept, np.float32).reshape(-1, WIDTH)
