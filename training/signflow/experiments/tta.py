"""Whether averaging over five views of a sequence (test-time augmentation) recognises more.

One trained network, asked with each view alone and with the mean of all five, as the handler answers ``"tta": true``.
``changed`` is the share of sequences of which a view changes a probability by more than a thousandth.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np

from models.signflow.excerpt import excerpt
from models.signflow.views import NAMES, views
from training.evaluation.classification import evaluate
from training.signflow.experiments.harness import Arm, Data, differences, recipe, trained
from training.signflow.fit import probabilities, probabilities_of_excerpts

ALL = "mean of all five"


figure = differences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this experiment's options."""
    parser.add_argument("--shown", type=int, default=20_000, help="clips shown per training (default: %(default)s)")
    parser.add_argument("--size", default="small", help="network size (default: %(default)s)")


def arms(arguments: argparse.Namespace, data: Data) -> Sequence[Arm]:
    """Return one arm per view, and one for their mean."""

    def run(name: str, seed: int) -> dict[str, float]:
        train, test = data.unseen(seed)
        how = recipe(data, train, seed, arguments.shown, arguments.size)
        network = trained(data, seed, how, arguments.out / "weights")
        seen = [views(excerpt(frames)) for frames in test.sequences]
        asked = range(len(NAMES)) if name == ALL else [NAMES.index(name)]
        shown = [[one[view] for one in seen] for view in asked]
        answers = np.mean([probabilities_of_excerpts(network, one) for one in shown], axis=0)
        metrics = evaluate(answers, test.labels, test.signs).metrics
        chosen = {one: metrics[one] for one in ("accuracy", "macro_f1", "calibration_error")}
        changed = np.abs(answers - probabilities(network, test.sequences)).max(1) > 1e-3
        return {**chosen, "changed": float(changed.mean())}

    return [Arm(name, partial(run, name)) for name in (*NAMES, ALL)]
