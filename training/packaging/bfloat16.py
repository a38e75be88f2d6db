"""May a model serve in bfloat16? Measured on held-out inputs when its archive is built.

Permission is given where the accuracy lost is at most 0.2 points, and no more: the golden inputs may then differ by
twice the largest gap seen here, on golden and held-out inputs. Another processor or another release of the library
rounds otherwise, by as much as this one does; what differs by more computes something else.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archives.certificate import Arrays, Case, Reduced, replay
from archives.contract import Contract
from handlers.bfloat16_engine import ReducedEngine, UnsupportedError
from handlers.engine import threads

logger = logging.getLogger(__name__)

MOST_LOST = 0.002
"""Largest share of held-out inputs by which accuracy may fall."""


def permission(
    graph: bytes, contract: Contract, golden: Sequence[Case], held_out: Sequence[Case], labels: NDArray[np.int64]
) -> Reduced | None:
    """Run a graph in bfloat16 and say whether it may serve so; None where it may not, or this machine cannot tell.

    Parameters
    ----------
    graph : bytes
        The ONNX graph.
    contract : Contract
        Whose first output holds one score per class, [rows, classes].
    golden, held_out : sequence of Case
        Inputs with the trained model's answers.
    labels : ndarray of int64, shape (rows,)
        The true classes of the held-out rows, in order.
    """
    output = contract.outputs[0].name
    rows: list[NDArray[np.int64]] = []
    with tempfile.TemporaryDirectory(prefix="marina-reduce-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(graph)
        try:
            engine = ReducedEngine(path, contract, threads())
        except (UnsupportedError, RuntimeError) as error:  # RuntimeError is OpenVINO's own
            logger.warning("%s is built for float32 only, bfloat16 cannot be measured here: %s", contract.model, error)
            return None

        def run(inputs: Arrays) -> Arrays:
            answers = engine.run(inputs)
            rows.append(answers[output].argmax(axis=1))
            return answers

        gap = replay(tuple(held_out), run).value
        reduced = np.concatenate(rows)
        gap = max(gap, replay(tuple(golden), engine.run).value)
    usual = np.concatenate([case.outputs[output].argmax(axis=1) for case in held_out])
    lost = float((usual == labels).mean() - (reduced == labels).mean())
    if not (lost <= MOST_LOST and np.isfinite(gap)):
        logger.warning("%s is built for float32 only: bfloat16 loses %.2f points", contract.model, 100 * lost)
        return None
    return Reduced(2 * gap, gap, len(labels), float((usual != reduced).mean()), lost)
