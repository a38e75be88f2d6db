"""Knowledge distillation: a small network learns from a large one's answers as well as from the labels.

Hinton, Vinyals & Dean, 2015: the student's and the teacher's probabilities are both softened by a temperature T, and

    loss = alpha * cross-entropy with the labels + (1 - alpha) * T^2 * KL(teacher || student)

where T^2 undoes what the temperature takes from the gradient. The teacher answers the very batch the student sees,
augmentation included, which no list of answers made beforehand could.

    python scripts/train.py signflow --size small --teacher signflow:2.0
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from archives.certificate import check_hashes
from archives.contract import ArchiveError, read_contract, read_json
from archives.store import unpack
from handlers.engine import open_verified
from models.signflow.network import SignFlow
from training.signflow.fit import Batch, Recipe, Technique, mixed_cross_entropy, mixed_logits

TEMPERATURE: Final = 4.0
ALPHA: Final = 0.5

Teacher = Callable[[Tensor, Tensor], Tensor]
"""From landmarks float32 [B, T, 225] and lengths int64 [B] to logits [B, signs]."""


def distilled(teacher: Teacher, name: str, temperature: float = TEMPERATURE, alpha: float = ALPHA) -> Technique:
    """Return the technique of learning from a teacher.

    Parameters
    ----------
    teacher
        Gives logits in the order of the student's signs.
    name
        Which teacher, exactly: a checkpoint of another one's student is not gone on with.
    temperature
        Above 1 shows the student how the teacher ranks the wrong signs.
    alpha
        Weight of the labels, 0 to 1; the teacher has the rest.
    """

    def objective(network: nn.Module, batch: Batch, recipe: Recipe) -> Tensor:
        landmarks, lengths, _, share = batch
        logits = mixed_logits(network, batch)
        with torch.no_grad():
            answers = teacher(landmarks, lengths).float()
            # the classifier is linear: logits mixed are the logits of the mixture that the student is given
            answers = share * answers + (1 - share) * answers.flip(0)
        soft = F.kl_div(
            F.log_softmax(logits.float() / temperature, -1),
            F.log_softmax(answers / temperature, -1),
            reduction="batchmean",
            log_target=True,
        )
        return alpha * mixed_cross_entropy(logits, batch, recipe) + (1 - alpha) * temperature**2 * soft

    return Technique(objective=objective, identity={"teacher": name, "temperature": temperature, "alpha": alpha})


def network_teacher(network: SignFlow) -> Teacher:
    """Return a trained network as a teacher; in bfloat16 where the training is."""
    network.eval()

    def teach(landmarks: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = network.to(landmarks.device)(landmarks, lengths)
        return logits

    return teach


def archive_of(name: str, store: Path) -> Path:
    """Return the archive that is meant by MODEL:VERSION, which is in the store, or by a path.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    model, colon, version = name.partition(":")
    path = store / f"{model}-{version}.mar" if colon else Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"no teacher at {path}; name an archive's path, or MODEL:VERSION of the store")
    return path


def taught_by(
    path: Path,
    signs: Sequence[str],
    data_sha256: str,
    seed: int,
    console: Console,
    signer: str = "auto",
    gpu: int | None = None,
) -> Technique:
    """Return the technique of learning from an archive, run by the engine that would serve it.

    Says so where the teacher was fitted to all clips or not trained on the same split: the student's figures may then
    be too good.

    Parameters
    ----------
    path
        A `.mar` of a SignFlow model of any size.
    signs
        Those of the student, in its order; the teacher may know others besides.
    data_sha256, seed, signer
        Of the student's training, on which the split depends.
    console
        Where it is said.
    gpu
        CUDA device of the student, where the teacher answers too; None for the CPU.

    Raises
    ------
    ArchiveError
        If it is no archive, is not as it was built, or does not know one of the signs.
    """
    # the engine takes its threads from there, one if nothing is said; it has to keep up with torch
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    with tempfile.TemporaryDirectory(prefix="marina-teacher-") as unpacked:
        folder = Path(unpacked)
        unpack(path, folder)
        check_hashes(folder)
        contract, origin = read_contract(folder / "contract.json"), read_json(folder / "provenance.json")
        if contract.family != "signflow":
            raise ArchiveError(f"{path.name} holds a {contract.family} model; name a signflow archive as teacher")
        if unknown := sorted({*signs} - {*contract.labels}):
            raise ArchiveError(
                f"{path.name} does not know {len(unknown)} of the {len(signs)} signs, such as {unknown[0]!r}; "
                "name a teacher that was trained on them"
            )
        engine = open_verified(folder, contract, gpu).engine
    console.print(f"teacher: {contract.model} {contract.version} on {engine.name}", highlight=False)
    params = origin["parameters"]
    split = origin["data_manifest_sha256"], params.get("schedule.seed"), params.get("signer", "auto")
    if origin.get("fits", {}).get("refitted", False):
        console.print(
            f"{path.name} was fitted to all clips of its data: where the student is tested on people among them, its "
            "figures are too good; teach with an archive that was trained with --no-refit",
            style="yellow",
            highlight=False,
        )
    elif split != (data_sha256, seed, signer):
        console.print(
            f"{path.name} was trained on other data, or with another seed or field of signers: it may have "
            "learned from people whom the student is tested on, and the student's figures be too good",
            style="yellow",
            highlight=False,
        )
    columns = [contract.labels.index(sign) for sign in signs]

    def teach(landmarks: Tensor, lengths: Tensor) -> Tensor:
        answers = engine.run({"landmarks": landmarks.cpu().numpy(), "lengths": lengths.cpu().numpy()})["logits"]
        return torch.from_numpy(answers[:, columns]).to(landmarks.device)

    return distilled(teach, hashlib.sha256(path.read_bytes()).hexdigest())
