"""SignFlow: a sequence of landmark frames in, the most probable signs out."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archives.contract import read_json
from handlers.answers import Detailed, top_labels
from handlers.base import Handler, Outputs
from handlers.decoding import JSON, NPY, describe
from handlers.errors import InvalidError, OtherVersionError
from handlers.prototypes import check_origin, read_takes
from handlers.validation import Unusual
from models.probabilities import softmax
from models.signflow.abstention import choose
from models.signflow.embedding_space import UNUSUAL, EmbeddingSpace
from models.signflow.excerpt import Visible, excerpt
from models.signflow.landmarks import AXES, LANDMARKS, LEFT_HAND, POSE, RIGHT_HAND, WIDTH
from models.signflow.personal import Prototypes, personalise
from models.signflow.plausibility import find_doubts, measure
from models.signflow.sequences import Frames, as_frames, pad
from models.signflow.summary import measure_hands, summarise
from models.signflow.views import NAMES, views

FAR = 1e4
"""Largest magnitude of a coordinate: image coordinates are near 1, pixels stay below this."""

PARTS = {"pose": POSE, "left_hand": LEFT_HAND, "right_hand": RIGHT_HAND}


class Signing(NamedTuple):
    """One sequence as the graph is shown it, and as it came.

    Attributes
    ----------
    views
        The excerpt that is the sign alone, or all views of it, itself first; float32 [T, 225] each.
    sent
        All that was sent, float32 [T, 225].
    measured
        Its quantities, as `models.signflow.plausibility.measure` names them.
    hands
        The shares of frames that show the left hand, and the right one.
    own
        The signer's own takes, if the request brings any.
    embedded
        Whether the answer is to have its embedding.
    """

    views: tuple[Frames, ...]
    sent: Frames
    measured: Mapping[str, float]
    hands: tuple[float, float]
    own: Prototypes | None = None
    embedded: bool = False


class SignFlowHandler(Handler[Signing]):
    """Answers `{"frames": [[225 numbers], …]}`, frames of 75 x 3, and `.npy` arrays of either shape.

    With ``"tta": true`` (test-time augmentation) five views of each sequence share the forward pass, and their
    probabilities are averaged. With ``"embedding": true`` the answer has each sequence's embedding, which comes back
    under its sign's name in ``prototypes`` to have the person's own takes count (`models.signflow.personal`). Each
    answer has the p-value of its sequence: how unusual it is beside what the model was trained on; and whether it is
    confident: not unusual, and so probable that nine of ten such answers were right for people of the evaluation.

    An archive from before there were embeddings gives none, knows no p-values, and calls nothing confident.
    """

    content_types = (JSON, NPY)
    fields = frozenset({"frames"})
    switches = frozenset({"tta", "embedding"})
    options = frozenset({"prototypes", "calibration_of"})

    def opened(self, folder: Path) -> None:
        """Read where embeddings lie, which graph they are of, and from where on answers are confident."""
        self._space: EmbeddingSpace | None = None
        self._fingerprint = ""
        if any(output.name == "embedding" for output in self.contract.outputs):
            self._space = EmbeddingSpace.read(read_json(folder / "family.json")["embedding"])
            self._fingerprint = read_json(folder / "certificate.json")["sha256"]["model.onnx"]
            with np.load(folder / "reference.npz", allow_pickle=False) as reference:
                correct = reference["predicted"] == reference["label"]
                self._confident_from = choose(reference["confidence"], correct).confidence

    def decode(self, fields: dict[str, Any]) -> Signing:
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

    def decode_array(self, array: NDArray[Any]) -> Signing:
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

    def _check_values(self, frames: NDArray[Any]) -> Signing:
        """Apply the input's policy, and return what is left of a sequence that can be one.

        NaN is a missing coordinate; anything infinite, far off, or beyond the contract's ranges is a mistake.
        """
        magnitude = np.abs(frames)
        if bool((magnitude > FAR).any()):  # NaN compares false
            frame, column = np.argwhere(magnitude > FAR)[0].tolist()
            where = f"frames[{frame}][{column}]"
            raise InvalidError(where, f"a coordinate from {-FAR:.0f} to {FAR:.0f}", f"{frames[frame, column]:.6g}")
        sent = as_frames(frames)
        visible = Visible.of(sent)
        measured = measure(sent, visible)
        if not measured:
            expected = "at least one landmark that is not missing (null, or x, y and z all 0)"
            raise InvalidError("frames", expected, "only missing ones; send the frames in which a signer is seen")
        for doubt in find_doubts(sent, measured, self.contract.possible):
            raise InvalidError("frames", doubt.expected, f"{doubt.received}; {doubt.hint}")
        samples = self.contract.limits.get("samples")  # an archive from before there were excerpts has none
        shown = sent if samples is None else excerpt(sent, samples, visible)
        return Signing((shown,), sent, measured, measure_hands(visible))

    def find_unusual(self, items: Sequence[Signing]) -> Sequence[Sequence[Unusual]]:
        """Return for each sequence which of its quantities are beyond the contract's usual ranges."""
        return [
            [
                Unusual("frames", f"usually expected: {doubt.expected}, got {doubt.received}; {doubt.hint}")
                for doubt in find_doubts(item.sent, item.measured, self.contract.usual)
            ]
            for item in items
        ]

    def switched(self, items: list[Signing], on: frozenset[str]) -> list[Signing]:
        """Put the other views beside each sequence, and ask for its embedding.

        All views together may be as long as one sequence may.
        """
        if "embedding" in on:
            self._embeds("embedding")
            items = [item._replace(embedded=True) for item in items]
        if "tta" not in on:
            return items
        most = self.contract.limits["frames"] // len(NAMES)
        if (longest := max(map(self.size, items))) > most:
            raise InvalidError("frames", f"at most {most} frames with tta, which are answered five times", str(longest))
        return [item._replace(views=views(item.views[0])) for item in items]

    def apply_options(self, items: list[Signing], options: Mapping[str, Any]) -> list[Signing]:
        """Give each sequence the signer's own takes."""
        space = self._embeds(max(options))
        check_origin(options, self._fingerprint, self.contract.version)
        takes = read_takes(options.get("prototypes", {}), self.contract.labels, len(space.mean))
        own = Prototypes.of(takes, space)
        return [item._replace(own=own) for item in items]

    def _embeds(self, field: str) -> EmbeddingSpace:
        """Return where embeddings lie; refuse a field that needs them where there are none."""
        if self._space is None:
            raise OtherVersionError(
                field,
                "this version to give embeddings",
                f"version {self.contract.version}, which was built before there were any",
                "send the request without it, or train and release the model again",
            )
        return self._space

    def size(self, item: Signing) -> int:
        """Return the number of frames of the longest view: what each view is padded to, and costs."""
        return max(map(len, item.views))

    def rows(self, item: Signing) -> int:
        """Return the number of views."""
        return len(item.views)

    def prepare(self, items: Sequence[Signing]) -> dict[str, NDArray[Any]]:
        """Pad the views of all sequences: ``landmarks`` float32 [B, T, 225], ``lengths`` int64 [B]."""
        landmarks, lengths = pad([view for item in items for view in item.views])
        return {"landmarks": landmarks, "lengths": lengths}

    def phrase(self, outputs: Outputs, items: Sequence[Signing], top_k: Sequence[int]) -> list[Any]:
        """Return each sequence's signs, most probable first, by the mean over its views and the signer's own takes.

        What the graph makes of the sequence itself, not of its other views, is compared with takes and with training.
        """
        probabilities = softmax(outputs["logits"])
        counts = np.array([*map(self.rows, items)])
        first = np.cumsum(counts) - counts
        if len(probabilities) > len(items):
            probabilities = np.add.reduceat(probabilities, first) / counts[:, None]
        if self._space is None:
            return top_labels(probabilities, self.contract.labels, top_k)
        embeddings = outputs["embedding"][first]
        directions = self._space.directions(embeddings)
        for at, item in enumerate(items):
            if item.own is not None:
                here = slice(at, at + 1)
                probabilities[here] = personalise(probabilities[here], directions[here], item.own, self._space)
        answers = top_labels(probabilities, self.contract.labels, top_k)
        p_values = self._space.p_values(directions).tolist()
        return [self._detail(*one) for one in zip(answers, items, p_values, embeddings, strict=True)]

    def _detail(self, answer: Any, item: Signing, p_value: float, embedding: NDArray[np.float32]) -> Detailed:
        """Put beside a sequence's signs how unusual it is, and its embedding where that was asked for."""
        confident = p_value >= UNUSUAL and answer[0]["probability"] >= self._confident_from
        beside: dict[str, Any] = {
            "p_value": round(p_value, 6),
            "unusual": p_value < UNUSUAL,
            "confident": confident,
        }
        if item.embedded:
            vector = np.round(embedding.astype(np.float64), 6).tolist()
            beside["embedding"] = {"vector": vector, "calibration_of": self._fingerprint}
        if p_value >= UNUSUAL:
            return Detailed(answer, beside)
        message = (
            f"unlike the sequences that this version was trained on (p-value {p_value:.2g}, usually expected: at least "
            f"{UNUSUAL:g}); it may be a sign that the model does not know, or none: rely less on the answer"
        )
        return Detailed(answer, beside, (Unusual("frames", message),))

    def summarise(self, items: Sequence[Signing], outputs: Outputs) -> NDArray[np.float32]:
        """Return each sequence's quantities, whatever views of it the graph was shown."""
        return np.stack([summarise(item.measured, item.hands) for item in items])

    def explain(self, item: Signing) -> dict[str, Any]:
        """Attribute the winning sign by occlusion (Zeiler & Fergus, 2014).

        Each part of the body, and each quarter of the time, is hidden in turn; its attribution is the probability
        that the winning sign loses. Costs eight sequences in one forward pass. Only the sequence itself is explained,
        not its other views.
        """
        frames = item.views[0]
        hidden: dict[str, NDArray[np.float32]] = {}
        for part, landmarks in PARTS.items():
            hidden[part] = frames.copy()
            hidden[part].reshape(-1, LANDMARKS, AXES)[:, landmarks] = np.nan
        edges = np.linspace(0, len(frames), 5).astype(int)
        for quarter, (start, stop) in enumerate(itertools.pairwise(edges), 1):
            hidden[f"time_quarter_{quarter}"] = frames.copy()
            hidden[f"time_quarter_{quarter}"][start:stop] = np.nan
        batch, lengths = pad([frames, *hidden.values()])
        probabilities = softmax(self.engine.run({"landmarks": batch, "lengths": lengths})["logits"])
        winner = int(probabilities[0].argmax())
        lost = (probabilities[0, winner] - probabilities[1:, winner]).tolist()
        return {
            "method": "occlusion",
            "label": self.contract.labels[winner],
            "attributions": dict(zip(hidden, lost, strict=True)),
        }
