"""The queue for annotators: the clips of recorded files whose labels would teach a model most.

clips without a label ─ a model's probabilities ─> scores ─ the highest ─> queue.csv ─ people ─> train.py --labels
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from archives.archive import open_archive
from archives.contract import ArchiveError
from models.probabilities import softmax
from models.signflow.excerpt import excerpt
from models.signflow.sequences import Frames, pad
from training.data.quality import Fault
from training.evaluation.archive_evaluation import float32_engine
from training.signflow import recorded
from training.signflow.active_learning import STRATEGIES, highest
from training.signflow.annotations import clip_id

BATCH = 32


@dataclass(frozen=True)
class Row:
    """One clip to be labelled.

    Attributes
    ----------
    clip
        Its name, as `training.signflow.annotations.clip_id` gives it.
    label
        Empty, for the annotator.
    reason
        Why it is asked for.
    score
        By which it was chosen, higher first.
    guess, probability, runner_up, runner_up_probability
        The model's first two signs.
    frames
        Its length.
    seqid
        What the recording calls it, where it says so.
    """

    clip: str
    label: str
    reason: str
    score: float
    guess: str
    probability: float
    runner_up: str
    runner_up_probability: float
    frames: int
    seqid: str


@dataclass(frozen=True)
class Clip:
    """One clip that could be asked for."""

    clip: str
    frames: Frames
    seqid: str


def candidates(data: Path, but: Collection[str] = (), *, labelled: bool = False) -> tuple[list[Clip], list[Fault]]:
    """Return the clips that could be asked for, and what is wrong with the rest.

    Parameters
    ----------
    data
        An ``.npz`` file or a folder of them.
    but
        Names of clips that have been answered.
    labelled
        Whether clips that have a label in the file are asked for too.
    """
    found: list[Clip] = []
    faults: list[Fault] = []
    for file in recorded.files(data):
        if (loaded := recorded.load(file, faults, labelled=False)) is None:
            continue
        arrays, frames = loaded
        named = recorded.named(arrays["y"]) if "y" in arrays else np.zeros(len(arrays["len"]), dtype=bool)
        for index, stop in enumerate(np.cumsum(arrays["len"]).tolist()):
            one = np.ascontiguousarray(frames[stop - int(arrays["len"][index]) : stop])
            if named[index] and not labelled:
                continue
            if stop > len(frames):
                faults.append(Fault(file.name, index, "truncated", f"the file ends at frame {len(frames)}, not {stop}"))
            elif (fault := recorded.fault_of(file.name, index, one)) is not None:
                faults.append(fault)
            elif (name := clip_id(file.name, index, one)) not in but:
                found.append(Clip(name, one, str(arrays["seqid"][index]) if "seqid" in arrays else ""))
    return found, faults


def queue(archive: Path, clips: Sequence[Clip], strategy: str, count: int, seed: int = 0) -> list[Row]:
    """Return the clips that a strategy asks for, the first to be labelled first.

    Parameters
    ----------
    archive
        A `.mar` of SignFlow.
    clips
        What there is to be labelled, at least one.
    strategy
        A name in `training.signflow.active_learning.STRATEGIES`.
    count
        At most that many.
    seed
        For the strategy that draws at random.

    Raises
    ------
    archives.contract.ArchiveError
        If it is no archive of SignFlow, or not as it was built.
    """
    probabilities, labels = _asked(archive, [clip.frames for clip in clips])
    scores = STRATEGIES[strategy](probabilities, np.random.default_rng(seed))
    rows = []
    for index in highest(scores, count).tolist():
        second, first = np.argsort(probabilities[index], kind="stable")[-2:].tolist()
        clip, sure, nearly = clips[index], *(round(float(probabilities[index, k]), 4) for k in (first, second))
        rows.append(
            Row(
                clip=clip.clip,
                label="",
                reason=f"{strategy} {scores[index]:.3f}: {labels[first]} {sure:.2f}, {labels[second]} {nearly:.2f}",
                score=round(float(scores[index]), 6),
                guess=labels[first],
                probability=sure,
                runner_up=labels[second],
                runner_up_probability=nearly,
                frames=len(clip.frames),
                seqid=clip.seqid,
            )
        )
    return rows


def write(rows: Sequence[Row], path: Path) -> None:
    """Write a queue as ``.json`` or, by any other name, as CSV."""
    if path.suffix == ".json":
        path.write_text(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n")
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rows)


def _asked(archive: Path, sequences: Sequence[Frames]) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    opened = open_archive(archive)
    engine, contract = float32_engine(opened), opened.contract
    if contract.family != "signflow":
        raise ArchiveError(f"{archive.name} holds a {contract.family} model; name an archive of signflow")
    if (samples := contract.limits.get("samples")) is not None:  # an archive from before there were excerpts has none
        sequences = [excerpt(frames, samples) for frames in sequences]
    order = np.argsort([len(frames) for frames in sequences], kind="stable")
    probabilities = np.empty((len(sequences), len(contract.labels)))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        landmarks, lengths = pad([sequences[i] for i in chosen])
        probabilities[chosen] = softmax(engine.run({"landmarks": landmarks, "lengths": lengths})["logits"])
    return probabilities, contract.labels
