"""What an archive answers to labelled inputs, and at what cost: asked in process, in float32."""

from __future__ import annotations

import io
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from archives.certificate import Arrays, check_hashes
from archives.contract import ArchiveError, Contract, read_contract
from archives.store import unpack
from handlers.base import softmax
from handlers.engine import Engine, open_engine
from training.evaluate import evaluate

WARM_UP = 10


@dataclass(frozen=True)
class Questions:
    """Labelled inputs that no model asked has learned from.

    Attributes
    ----------
    inputs
        Of a graph, each a batch of one.
    labels
        The right answer to each.
    described
        What they are, in a few words.
    """

    inputs: Sequence[Arrays]
    labels: tuple[str, ...]
    described: str


@dataclass(frozen=True)
class Answers:
    """What a classifier answered.

    Attributes
    ----------
    right
        bool [N]: whether the most probable label was the right one.
    metrics
        Shares on these questions (accuracy, top5, macro_f1, …), and costs: parameters in thousands, operations of one
        middle-sized input in MFLOP (a multiplication and an addition count as two), p50 and p95 of one input alone.
    """

    right: npt.NDArray[np.bool_]
    metrics: dict[str, float]


def answers(archive: Path, questions: Sequence[Arrays], labels: Sequence[str]) -> Answers:
    """Ask an archive one question after the other, each alone.

    Threads are the engine's: one, unless ``OMP_NUM_THREADS`` says more.

    Parameters
    ----------
    archive
        A `.mar` of a classifier whose one output is logits.
    questions
        Inputs of its graph.
    labels
        The right label of each, all known to the archive.

    Raises
    ------
    archives.contract.ArchiveError
        If the archive is not as it was built, or is no such classifier.
    """
    engine, contract = open_archive(archive)
    output = _logits(archive, contract)
    for inputs in questions[:WARM_UP]:
        engine.run(inputs)
    rows, took_ms = [], []
    for inputs in questions:
        started = time.perf_counter()
        rows.append(engine.run(inputs)[output][0])
        took_ms.append(1000 * (time.perf_counter() - started))
    probabilities = softmax(np.stack(rows))
    truth = np.array([contract.labels.index(label) for label in labels], np.int64)
    p50, p95 = np.quantile(took_ms, [0.5, 0.95])
    middle = sorted(questions, key=lambda inputs: sum(array.size for array in inputs.values()))[len(questions) // 2]
    costs = {**work(archive, middle), "p50, ms": float(p50), "p95, ms": float(p95)}
    found = evaluate(probabilities, truth, contract.labels)
    return Answers(probabilities.argmax(1) == truth, {**found.metrics, **costs})


def open_archive(archive: Path) -> tuple[Engine, Contract]:
    """Return the float32 engine of an archive, on the CPU, and what the archive promises.

    Raises
    ------
    archives.contract.ArchiveError
        If the archive is not as it was built.
    """
    with tempfile.TemporaryDirectory(prefix="marina-answers-") as unpacked:
        folder = Path(unpacked)
        unpack(archive, folder)
        check_hashes(folder)
        contract = read_contract(folder / "contract.json")
        return open_engine(folder, contract, None), contract


def work(archive: Path, inputs: Arrays) -> dict[str, float]:
    """Count an archive's parameters and the operations of one forward pass; nothing where it holds no program."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with zipfile.ZipFile(archive) as members:
        if "model.pt2" not in members.namelist():
            return {}
        program = torch.export.load(io.BytesIO(members.read("model.pt2")))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        program.module()(*(torch.from_numpy(array) for array in inputs.values()))
    parameters = sum(parameter.numel() for parameter in program.parameters())
    return {"parameters, thousands": parameters / 1e3, "MFLOP": counter.get_total_flops() / 1e6}


def _logits(archive: Path, contract: Contract) -> str:
    if contract.task != "classification" or [one.name for one in contract.outputs] != ["logits"]:
        raise ArchiveError(f"{archive.name}: expected a classifier that gives logits, got a {contract.task} model")
    return contract.outputs[0].name
