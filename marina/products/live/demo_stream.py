"""The stream that the page plays where there is no camera: a request's signs, as a person before a camera makes them.

Each sign begins and ends with hands out of view, so that it is found as one of a camera would be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from archives.errors import MarinaError
from models.signflow.landmarks import LEFT_HAND, WIDTH
from models.signflow.sequences import as_frames

PER_SECOND: Final = 30
PAUSE_FRAMES: Final = 24
"""Without hands, before and after each sign."""


class DemoError(MarinaError):
    """The file of the demo is no request; the message says what was expected."""


def read_request(path: Path) -> list[npt.NDArray[np.float32]]:
    """Read the sequences of a request: ``frames``, or ``instances`` with ``frames`` each.

    Raises
    ------
    DemoError
        If the file is anything else.
    """
    try:
        request: dict[str, Any] = orjson.loads(path.read_bytes())
        instances = request.get("instances", [request])
        return [as_frames(np.array(one["frames"], np.float32)) for one in instances]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DemoError(f"{path}: expected a request as /predictions/signflow takes it, got: {error}") from error


def stream(sequences: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float16]:
    """Return signs one after the other with pauses between them, float16 [T, 225], `PER_SECOND` frames a second."""
    parts = []
    for frames in sequences:
        before, after = (np.repeat(frames[at : at + 1], PAUSE_FRAMES, 0) for at in (0, len(frames) - 1))
        for pause in (before, after):
            pause.reshape(-1, WIDTH // 3, 3)[:, LEFT_HAND.start :] = 0
        parts += [before, frames, after]
    whole = np.concatenate(parts) if parts else np.zeros((0, WIDTH))
    return whole.astype(np.float16)
