"""Whether the graph network beats hand-crafted features, and a larger one a smaller one.

Every size of the network sees the same clips equally often, with the same recipe; only the architecture differs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from training.experiment import Arm, Data, recipe, tested, trained_at_cost

SIZES = ("baseline", "small", "large")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this experiment's options."""
    parser.add_argument("--shown", type=int, default=20_000, help="clips shown per training (default: %(default)s)")


def arms(arguments: argparse.Namespace, data: Data) -> Sequence[Arm]:
    """Return one arm per architecture."""

    def run(size: str, seed: int) -> dict[str, float]:
        train, test = data.unseen(seed)
        how = recipe(data, train, seed, arguments.shown, size)
        model, processor_s = trained_at_cost(data, seed, how, arguments.out / "weights")
        return {**tested(model, test), "processor_s": processor_s}

    return [Arm(size, partial(run, size)) for size in SIZES]
