"""Whether the graph network beats hand-crafted features, and a larger one a smaller one.

Every size of the network sees the same clips equally often, with the same recipe; only the architecture differs.
Then some of them answer together: the mean of their probabilities, at the cost of all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np

from training.evaluate import evaluate
from training.experiment import Arm, Data, recipe, trained_at_cost
from training.signflow_fit import probabilities

METRICS = ("accuracy", "top5", "macro_f1", "calibration_error")

ARMS = (
    ("baseline",),
    ("small",),
    ("large",),
    ("baseline", "small"),
    ("baseline", "large"),
    ("baseline", "small", "large"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this experiment's options."""
    parser.add_argument("--shown", type=int, default=20_000, help="clips shown per training (default: %(default)s)")


def arms(arguments: argparse.Namespace, data: Data) -> Sequence[Arm]:
    """Return one arm per architecture."""

    def run(sizes: Sequence[str], seed: int) -> dict[str, float]:
        train, test = data.unseen(seed)
        answers, spent = [], 0.0
        for size in sizes:
            how = recipe(data, train, seed, arguments.shown, size)
            model, processor_s = trained_at_cost(data, seed, how, arguments.out / "weights")
            answers.append(probabilities(model, test.sequences))
            spent += processor_s
        metrics = evaluate(np.mean(answers, axis=0), test.labels, test.signs).metrics
        return {**{name: metrics[name] for name in METRICS}, "processor_s": spent}

    return [Arm(" + ".join(sizes), partial(run, sizes)) for sizes in ARMS]
