"""Whether averaging over five views of a sequence (test-time augmentation) recognises more.

One trained network, asked with each view alone and with the mean of all five, as the handler answers ``"tta": true``.
``changed`` is the share of sequences of which a view changes a probability by more than a thousandth.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np

from models.signflow.views import NAMES, views
from training.evaluate import evaluate
from training.experiment import Arm, Data, differences, recipe, trained
from training.signflow_fit import probabilities

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
        seen = [views(frames) for frames in test.sequences]
        asked = range(len(NAMES)) if name == ALL else [NAMES.index(name)]
        answers = np.mean([probabilities(network, tuple(one[view] for one in seen)) for view in asked], axis=0)
        metrics = evaluate(answers, test.labels, test.signs).metrics
        told = {one: metrics[one] for one in ("accuracy", "macro_f1", "calibration_error")}
        changed = np.abs(answers - probabilities(network, test.sequences)).max(1) > 1e-3
        return {**told, "changed": float(changed.mean())}

    return [Arm(name, partial(run, name)) for name in (*NAMES, ALL)]
