"""SignFlow: from a trained model to a release, everything its archive is made of."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from archives.certificate import Arrays, Case
from archives.contract import Contract, Tensor
from models.signflow.excerpt import SAMPLES, excerpt
from models.signflow.landmarks import WIDTH
from models.signflow.network import SIZES, SignFlow, SignFlowConfig
from models.signflow.sequences import MAX_FRAMES, Frames, pad
from models.signflow.summary import SUMMARY, summarise_frames
from training.export.torch_module import export_module
from training.neural import checkpoint
from training.packaging.archive import Release, columns_of, configure_serving
from training.packaging.bfloat16 import permission
from training.packaging.model_card import IntendedUse
from training.packaging.provenance import provenance
from training.signflow import recorded
from training.signflow.recipe import Trained

LARGE = SIZES["large"].d_model
"""Width from which bfloat16 pays (a new shape costs OpenVINO as much time as it saves in a smaller network's pass), and
from which a sequence takes so long that a full batch of many only makes others wait."""

CERTIFIED: Final = 512
"""Held-out sequences that the certificate is of, at most: a large network takes minutes for more."""

OUTPUTS = ("logits", "embedding")
"""What the graph that serves gives, in order."""

DYNAMIC = {"landmarks": {0: "batch", 1: "time"}, "lengths": {0: "batch"}}


INTENDED_USE: Final = IntendedUse(
    purpose=(
        "Says which of the signs that it knows a person makes in a sequence of MediaPipe Holistic landmarks: for "
        "products that offer the likeliest signs to someone who can see and correct them, such as dictionaries, "
        "exercises and annotation."
    ),
    not_for=(
        "Interpreting. It knows single signs, no sentences, and takes whatever is shown for one of its signs; a sign "
        "that it does not know gets a label, too. Nothing that matters to a person (medical, legal, administrative) "
        "should rest on an answer that no signer has confirmed. It is not for recognising who signs. How well it does "
        "for signers, cameras or sign languages other than those it was measured on is not known."
    ),
)


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
    graph = export(model)
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
        outputs=(
            Tensor("logits", "float32", ("batch", len(trained.labels)), unit="natural log-odds"),
            Tensor("embedding", "float32", ("batch", trained.config.d_model), unit="the vector before the classifier"),
        ),
        labels=trained.labels,
        limits={"frames": MAX_FRAMES, "samples": SAMPLES},
        possible=recorded.POSSIBLE,
        usual=recorded.USUAL,
        summary=SUMMARY,
    )  # fmt: skip
    held_out = _batches(model, [excerpt(frames) for frames in trained.reference[:CERTIFIED]])
    large = trained.config.d_model >= LARGE
    return Release(
        contract=contract,
        handler="handlers.signflow:SignFlowHandler",
        onnx=graph,
        cases=cases,
        example={"frames": _example(trained.reference), "top_k": 3},
        reference=_reference(trained),
        family_data={"embedding": trained.space.write()},
        provenance=provenance(trained),
        intended_use=INTENDED_USE,
        # Frames; batches small enough for two workers to share what is there (--mode sweep of benchmarks.throughput).
        serving=configure_serving(pass_limit=512, workers=2, batch=4 if large else 8),
        reduced=permission(graph, contract, cases, held_out, trained.reference_labels[:CERTIFIED]) if large else None,
    )


def export(model: SignFlow) -> bytes:
    """Return the ONNX graph of a network.

    It takes ``landmarks`` float32 [batch, time, 225] and ``lengths`` int64 [batch], and gives ``logits`` float32
    [batch, signs] and ``embedding`` float32 [batch, d_model].
    """
    landmarks, lengths = (torch.tensor(array) for array in pad([np.zeros((2, WIDTH), np.float32)] * 2))
    return export_module(Served(model).eval(), {"landmarks": landmarks, "lengths": lengths}, OUTPUTS, DYNAMIC)


class Served(nn.Module):
    """What is served of a network: its logits, and the vectors that they are made of."""

    def __init__(self, network: SignFlow) -> None:
        super().__init__()
        self.network = network

    def forward(self, landmarks: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits [B, signs] and embeddings [B, d_model]; arguments as for `SignFlow.forward`."""
        embedding = self.network.embed(landmarks, lengths)
        return self.network.classify(embedding), embedding


def export_checkpoint(path: Path) -> bytes:
    """Return the ONNX graph of the best weights in a training's checkpoint.

    Raises
    ------
    training.neural.checkpoint.CheckpointError
        If it is no checkpoint of a SignFlow training.
    FileNotFoundError
        If there is no such file.
    """
    tensors, note = checkpoint.read(path)
    network = note.get("fingerprint", {}).get("network")
    weights = checkpoint.group(tensors, "best") or checkpoint.group(tensors, "ema")
    if network is None or not weights:
        raise checkpoint.CheckpointError(f"{path} is no checkpoint of a SignFlow training")
    shape: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in network.items()
    }
    model = SignFlow(SignFlowConfig(**shape))
    model.load_state_dict(weights)
    return export(model)


def _example(sequences: list[Frames]) -> list[list[float | None]]:
    """Return the shortest held-out sequence of at least 16 frames, in JSON's terms and a reader's precision."""
    frames = min((one for one in sequences if len(one) >= 16), key=len, default=sequences[0])
    return [[None if np.isnan(value) else round(float(value), 3) for value in frame] for frame in frames]


def _cases(model: SignFlow, golden: list[Frames]) -> Iterable[Case]:
    """Yield each golden sequence alone, then all of them padded into one batch: padding must change nothing."""
    for index, frames in enumerate(golden):
        yield _case(f"sequence_{index}", model, [frames])
    yield _case("padded_batch", model, golden)


def _case(name: str, model: SignFlow, sequences: list[Frames]) -> Case:
    landmarks, lengths = pad(sequences)
    with torch.inference_mode():
        answers = Served(model)(torch.tensor(landmarks), torch.tensor(lengths))
    outputs = {name: answer.numpy() for name, answer in zip(OUTPUTS, answers, strict=True)}
    return Case(name, {"landmarks": landmarks, "lengths": lengths}, outputs)


def _batches(model: SignFlow, sequences: list[Frames]) -> list[Case]:
    """Return the held-out sequences, sixteen at a time, with the trained model's answers."""
    parts = [sequences[at : at + 16] for at in range(0, len(sequences), 16)]
    return [_case(f"held_out_{index}", model, part) for index, part in enumerate(parts)]


def _reference(trained: Trained) -> Arrays:
    """Return per test sequence what drift is measured on; what was answered, by a fit that had not seen it.

    Returns
    -------
    dict of ndarray, each of shape (sequences,)
        ``confidence`` of the winning sign, ``predicted`` and true ``label``, and what
        `models.signflow.summary.SUMMARY` names.
    """
    probabilities, sequences = trained.reference_probabilities, trained.reference
    return {
        "confidence": probabilities.max(axis=1).astype(np.float32),
        "predicted": probabilities.argmax(axis=1).astype(np.int64),
        "label": np.asarray(trained.reference_labels, np.int64),
        **columns_of(SUMMARY, np.stack([summarise_frames(frames) for frames in sequences])),
    }
