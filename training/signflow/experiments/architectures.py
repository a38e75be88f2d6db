"""Whether a graph network adds to hand-crafted features, and whether a larger network beats a smaller one.

Every size of the network sees the same clips equally often, with the same recipe; only the architecture differs.
Then some of them answer together: the mean of their probabilities, at the cost of all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from training.evaluation.classification import evaluate
from training.signflow.experiments.harness import Arm, Data, Outcome, recipe, trained_at_cost
from training.signflow.fit import probabilities

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ("accuracy", "top5", "macro_f1", "calibration_error")

SIZES = ("features", "small", "base", "large")
TOGETHER = (("small", "large"), ("features", "small", "large"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this experiment's options."""
    parser.add_argument("--shown", type=int, default=20_000, help="clips shown per training (default: %(default)s)")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=[*SIZES], help="default: %(default)s")


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

    alone = [(size,) for size in SIZES if size in arguments.sizes]
    together = [sizes for sizes in TOGETHER if set(sizes) <= set(arguments.sizes)]
    return [Arm(" + ".join(sizes), partial(run, sizes)) for sizes in (*alone, *together)]


def figure(arms: Sequence[Arm], outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw the accuracy of every arm on every fold, a fold's dots joined: folds differ more than architectures."""
    from matplotlib.figure import Figure

    names = [arm.name for arm in arms]
    plot = Figure(figsize=(8, 4), layout="constrained")
    axes = plot.subplots()
    for seed in sorted({one.seed for one in outcomes}):
        of = {one.arm: one.metrics["accuracy"] for one in outcomes if one.seed == seed}
        shown = [name for name in names if name in of]
        axes.plot([names.index(name) for name in shown], [of[name] for name in shown], "o-", label=f"fold {seed}")
    axes.set_xticks(range(len(names)), [name.replace(" + ", "\n+ ") for name in names])
    axes.set_ylabel("accuracy on unseen people")
    axes.set_title(title)
    axes.legend()
    return plot
