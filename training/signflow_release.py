"""SignFlow: from a trained model to a release, everything its archive is made of."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from archives.certificate import Arrays, Case
from archives.contract import Contract, Tensor
from models.signflow.landmarks import AXES, LANDMARKS, LEFT_HAND, RIGHT_HAND, WIDTH
from models.signflow.network import SIZES
from models.signflow.sequences import MAX_FRAMES, Frames, pad
from training.archive import Release, served
from training.export import export_module
from training.provenance import provenance
from training.reduction import permission
from training.signflow import Trained

LARGE = SIZES["large"].d_model
"""Width from which bfloat16 pays (a new shape costs OpenVINO as much time as it saves in a smaller network's pass), and
from which a sequence takes so long that a full batch of many only makes others wait."""

DYNAMIC = {"landmarks": {0: "batch", 1: "time"}, "lengths": {0: "batch"}}


def release(trained: Trained, version: str) -> Release:
    """Export a trained model and collect its proofs.

    Parameters
    ----------
    trained : Trained
    version : str
        Such as ``1.0``.
    """
    model = trained.model.eval()
    cases = tuple(_cases(model, trained.golden))
    example = pad([np.zeros((2, WIDTH), np.float32)] * 2)
    graph, program = export_module(
        model, {"landmarks": torch.tensor(example[0]), "lengths": torch.tensor(example[1])}, ["logits"], DYNAMIC
    )
    contract = Contract(
        model="signflow",
        version=version,
        family="signflow",
        task="classification",
        inputs=(
            Tensor(
                "landmarks", "float32", ("batch", "time", WIDTH),
                unit="image coordinates; 33 pose, 21 left-hand, 21 right-hand landmarks x (x, y, z), MediaPipe order",
                missing="NaN, or a hand all zeros, is a missing landmark; infinities are refused",
            ),
            Tensor("lengths", "int64", ("batch",), unit="frames"),
        ),
        outputs=(Tensor("logits", "float32", ("batch", len(trained.labels)), unit="natural log-odds"),),
        labels=trained.labels,
        limits={"frames": MAX_FRAMES},
    )  # fmt: skip
    held_out = _batches(model, trained.reference)
    large = trained.config.d_model >= LARGE
    return Release(
        contract=contract,
        handler="handlers.signflow:SignFlowHandler",
        onnx=graph,
        program=program,
        cases=cases,
        example={"frames": _example(trained.reference), "top_k": 3},
        reference=_reference(held_out, trained.reference, trained.reference_labels),
        provenance=provenance(trained),
        # Frames; batches small enough for two workers to share what is there (--mode sweep of benchmark_throughput.py).
        serving=served(pass_limit=512, workers=2, batch=4 if large else 8),
        reduced=permission(graph, contract, cases, held_out, trained.reference_labels) if large else None,
    )


def _example(sequences: list[Frames]) -> list[list[float | None]]:
    """Return the shortest held-out sequence of at least 16 frames, in JSON's terms and a reader's precision."""
    frames = min((one for one in sequences if len(one) >= 16), key=len, default=sequences[0])
    return [[None if np.isnan(value) else round(float(value), 3) for value in frame] for frame in frames]


def _cases(model: torch.nn.Module, golden: list[Frames]) -> Iterable[Case]:
    """Yield each golden sequence alone, then all of them padded into one batch: padding must change nothing."""
    for index, frames in enumerate(golden):
        yield _case(f"sequence_{index}", model, [frames])
    yield _case("padded_batch", model, golden)


def _case(name: str, model: torch.nn.Module, sequences: list[Frames]) -> Case:
    landmarks, lengths = pad(sequences)
    return Case(name, {"landmarks": landmarks, "lengths": lengths}, {"logits": _logits(model, sequences)})


def _logits(model: torch.nn.Module, sequences: list[Frames]) -> NDArray[np.float32]:
    landmarks, lengths = pad(sequences)
    with torch.inference_mode():
        logits: NDArray[np.float32] = model(torch.tensor(landmarks), torch.tensor(lengths)).numpy()
    return logits


def _batches(model: torch.nn.Module, sequences: list[Frames]) -> list[Case]:
    """Return the held-out sequences, sixteen at a time, with the trained model's answers."""
    parts = [sequences[at : at + 16] for at in range(0, len(sequences), 16)]
    return [_case(f"held_out_{index}", model, part) for index, part in enumerate(parts)]


def _reference(held_out: list[Case], sequences: list[Frames], labels: NDArray[np.int64]) -> Arrays:
    """Return per held-out sequence what drift is measured on.

    Returns
    -------
    dict of ndarray, each of shape (sequences,)
        ``confidence`` of the winning sign, ``predicted`` and true ``label``, number of ``frames``, and the share of
        frames in which each hand is seen.
    """
    logits = np.concatenate([case.outputs["logits"] for case in held_out])
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return {
        "confidence": (shifted.max(axis=1) / shifted.sum(axis=1)).astype(np.float32),
        "predicted": logits.argmax(axis=1).astype(np.int64),
        "label": np.asarray(labels, np.int64),
        "frames": np.array([len(frames) for frames in sequences], np.int64),
        "left_hand_seen": np.array([_seen(frames, LEFT_HAND) for frames in sequences], np.float32),
        "right_hand_seen": np.array([_seen(frames, RIGHT_HAND) for frames in sequences], np.float32),
    }


def _seen(frames: Frames, hand: slice) -> float:
    points = np.nan_to_num(frames.reshape(-1, LANDMARKS, AXES)[:, hand])
    return float((points != 0).any(axis=(1, 2)).mean())
