"""What an archive answers to labelled inputs, and at what cost: asked in process, in float32."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from archives.archive import Archive, open_archive
from archives.certificate import Arrays
from archives.contract import ArchiveError, Contract
from handlers.engine import Engine, open_engine
from models.probabilities import softmax
from training.evaluation.classification import evaluate

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
        Shares on these questions (accuracy, top5, macro_f1, …), and costs: parameters in thousands, with the few fixed
        numbers of the graph; operations of one middle-sized input in MFLOP (a multiplication and an addition count as
        two), p50 and p95 of one input alone.
    """

    right: npt.NDArray[np.bool_]
    metrics: dict[str, float]


def answers(archive: Path, questions: Sequence[Arrays], labels: Sequence[str]) -> Answers:
    """Ask an archive one question after the other, each alone.

    Threads are the engine's: one, unless ``OMP_NUM_THREADS`` says more.

    Parameters
    ----------
    archive
        A `.mar` of a classifier whose first output is logits.
    questions
        Inputs of its graph.
    labels
        The right label of each, all known to the archive.

    Raises
    ------
    archives.contract.ArchiveError
        If the archive is not as it was built, or is no such classifier.
    """
    opened = open_archive(archive)
    engine, contract = float32_engine(opened), opened.contract
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
    costs = {**work(bytes(opened.members["model.onnx"]), middle), "p50, ms": float(p50), "p95, ms": float(p95)}
    found = evaluate(probabilities, truth, contract.labels)
    return Answers(probabilities.argmax(1) == truth, {**found.metrics, **costs})


def float32_engine(archive: Archive) -> Engine:
    """Return the float32 engine of an archive, on the CPU."""
    with tempfile.TemporaryDirectory(prefix="marina-answers-") as unpacked:
        archive.unpack(Path(unpacked))
        return open_engine(Path(unpacked), archive.contract, None)


def work(graph: bytes, inputs: Arrays) -> dict[str, float]:
    """Count an ONNX graph's parameters and the operations of one forward pass, from the shapes that a run of it has."""
    import onnx
    import onnxruntime

    model = onnx.load_model_from_string(graph)
    weights = {one.name: tuple(one.dims) for one in model.graph.initializer}
    parameters = sum(math.prod(one.dims) for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT)
    products = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    given = weights.keys() | inputs.keys()
    wanted = sorted({name for node in products for name in (*node.input, *node.output)} - given)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    shapes = weights | {name: array.shape for name, array in inputs.items()}
    shapes |= {name: array.shape for name, array in zip(wanted, session.run(wanted, dict(inputs)), strict=True)}
    operations = sum(2 * math.prod(shapes[node.output[0]]) * _sum(node, shapes) for node in products)
    return {"parameters, thousands": parameters / 1e3, "MFLOP": operations / 1e6}


def _sum(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many products are added up in each number that a node puts out."""
    left, right = shapes[node.input[0]], shapes[node.input[1]]
    if node.op_type == "Conv":
        return math.prod(right[1:])
    turned = any(one.name == "transA" and one.i for one in node.attribute)
    return left[0 if turned else -1]


def _logits(archive: Path, contract: Contract) -> str:
    if contract.task != "classification" or contract.outputs[0].name != "logits":
        raise ArchiveError(f"{archive.name}: expected a classifier that gives logits, got a {contract.task} model")
    return contract.outputs[0].name
