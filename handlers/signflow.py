"""SignFlow: a sequence of landmark frames in, the most probable signs out."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.base import Handler, Outputs, softmax, top_labels
from handlers.errors import InvalidError
from handlers.wire import JSON, NPY, describe
from models.signflow.landmarks import AXES, LANDMARKS, LEFT_HAND, POSE, RIGHT_HAND, WIDTH
from models.signflow.sequences import Frames, as_frames, pad
from models.signflow.views import NAMES, views

FAR = 1e4
"""Largest magnitude of a coordinate: image coordinates are near 1, pixels stay below this."""

PARTS = {"pose": POSE, "left_hand": LEFT_HAND, "right_hand": RIGHT_HAND}


Views = tuple[Frames, ...]
"""What the graph is shown of one sequence: itself alone, or all views of it, itself first."""


class SignFlowHandler(Handler[Views]):
    """Answers `{"frames": [[225 numbers], …]}`, frames of 75 x 3, and `.npy` arrays of either shape.

    With ``"tta": true`` (test-time augmentation) five views of each sequence share the forward pass, and their
    probabilities are averaged.
    """

    content_types = (JSON, NPY)
    fields = frozenset({"frames"})
    switches = frozenset({"tta"})

    def decode(self, fields: dict[str, Any]) -> Views:
        """Validate ``frames``: an array of frames of 225 numbers or 75 triples; ``null`` is a missing coordinate."""
        frames = fields.get("frames")
        expected = f"an array of frames of {WIDTH} numbers or {LANDMARKS} x {AXES}"
        if not isinstance(frames, list) or not frames:
            raise InvalidError("frames", expected, describe(frames) if "frames" in fields else "nothing")
        self._check_length(len(frames))
        nested = isinstance(frames[0], list) and bool(frames[0]) and isinstance(frames[0][0], list)
        width = LANDMARKS if nested else WIDTH
        for index, frame in enumerate(frames):
            if not isinstance(frame, list) or len(frame) != width:
                of = f"{LANDMARKS} triples" if nested else f"{WIDTH} numbers"
                raise InvalidError(f"frames[{index}]", f"an array of {of}", describe(frame))
        numbers = list(itertools.chain.from_iterable(frames))
        if nested:
            for index, triple in enumerate(numbers):
                if not isinstance(triple, list) or len(triple) != AXES:
                    where = f"frames[{index // LANDMARKS}][{index % LANDMARKS}]"
                    raise InvalidError(where, f"{AXES} numbers", describe(triple))
            numbers = list(itertools.chain.from_iterable(numbers))
        # One pass over the types: numpy would read "1.5" and true as numbers.
        if not {*map(type, numbers)} <= {float, int, type(None)}:
            wrong = next(index for index, value in enumerate(numbers) if type(value) not in (float, int, type(None)))
            raise InvalidError(
                f"frames[{wrong // WIDTH}][{wrong % WIDTH}]", "a number, or null if missing", describe(numbers[wrong])
            )
        return self._check_values(np.array(numbers, np.float64).reshape(-1, WIDTH))

    def decode_array(self, array: NDArray[Any]) -> Views:
        """Validate an array, [T, 225] or [T, 75, 3]."""
        if array.ndim not in (2, 3) or array.shape[1:] not in ((WIDTH,), (LANDMARKS, AXES)):
            expected = f"an array of shape [T, {WIDTH}] or [T, {LANDMARKS}, {AXES}]"
            raise InvalidError("frames", expected, f"shape {list(array.shape)}")
        self._check_length(len(array))
        return self._check_values(array.reshape(-1, WIDTH))

    def _check_length(self, frames: int) -> None:
        most = self.contract.limits["frames"]
        if not 1 <= frames <= most:
            raise InvalidError("frames", f"1 to {most} frames", str(frames))

    @staticmethod
    def _check_values(frames: NDArray[Any]) -> Views:
        """Apply the input's policy: NaN is a missing coordinate, anything infinite or far off is a mistake."""
        magnitude = np.abs(frames)
        if bool((magnitude > FAR).any()):  # NaN compares false
            frame, column = np.argwhere(magnitude > FAR)[0].tolist()
            where = f"frames[{frame}][{column}]"
            raise InvalidError(where, f"a coordinate from {-FAR:.0f} to {FAR:.0f}", f"{frames[frame, column]:.6g}")
        if bool(np.isnan(frames).all()):
            raise InvalidError("frames", "at least one landmark that is not missing", "only missing ones")
        return (as_frames(frames),)

    def switched(self, items: list[Views], on: frozenset[str]) -> list[Views]:
        """Put the other views beside each sequence; all of them together may be as long as one sequence may."""
        most = self.contract.limits["frames"] // len(NAMES)
        if (longest := max(map(self.size, items))) > most:
            raise InvalidError("frames", f"at most {most} frames with tta, which are answered five times", str(longest))
        return [views(item[0]) for item in items]

    def size(self, item: Views) -> int:
        """Return the number of frames of the longest view: what each view is padded to, and costs."""
        return max(map(len, item))

    def rows(self, item: Views) -> int:
        """Return the number of views."""
        return len(item)

    def prepare(self, items: Sequence[Views]) -> dict[str, NDArray[Any]]:
        """Pad the views of all sequences: ``landmarks`` float32 [B, T, 225], ``lengths`` int64 [B]."""
        landmarks, lengths = pad([view for item in items for view in item])
        return {"landmarks": landmarks, "lengths": lengths}

    def phrase(self, outputs: Outputs, items: Sequence[Views], top_k: Sequence[int]) -> list[Any]:
        """Return each sequence's signs, most probable first, by the mean over its views."""
        probabilities = softmax(outputs["logits"])
        if len(probabilities) > len(items):
            counts = np.array([*map(len, items)])
            probabilities = np.add.reduceat(probabilities, np.cumsum(counts) - counts) / counts[:, None]
        return top_labels(probabilities, self.contract.labels, top_k)

    def explain(self, item: Views) -> dict[str, Any]:
        """Attribute the winning sign by occlusion (Zeiler & Fergus, 2014).

        Each part of the body, and each quarter of the time, is hidden in turn; its attribution is the probability
        that the winning sign loses. Costs eight sequences in one forward pass. Only the sequence itself is explained,
        not its other views.
        """
        frames = item[0]
        hidden: dict[str, NDArray[np.float32]] = {}
        for part, landmarks in PARTS.items():
            hidden[part] = frames.copy()
            hidden[part].reshape(-1, LANDMARKS, AXES)[:, landmarks] = np.nan
        edges = np.linspace(0, len(frames), 5).astype(int)
        for quarter, (start, stop) in enumerate(itertools.pairwise(edges), 1):
            hidden[f"time_quarter_{quarter}"] = frames.copy()
            hidden[f"time_quarter_{quarter}"][start:stop] = np.nan
        probabilities = softmax(
            self.engine.run(self.prepare([(frames,), *((one,) for one in hidden.values())]))["logits"]
        )
        winner = int(probabilities[0].argmax())
        lost = (probabilities[0, winner] - probabilities[1:, winner]).tolist()
        return {
            "method": "occlusion",
            "label": self.contract.labels[winner],
            "attributions": dict(zip(hidden, lost, strict=True)),
        }
