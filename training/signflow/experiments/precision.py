"""What training in bfloat16 saves, and whether it costs accuracy.

The same recipe with products in float32 and, where the processor has instructions for it, in bfloat16.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

from training.signflow.experiments.harness import Arm, Data, recipe, tested
from training.signflow.fit import fit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this experiment's options."""
    parser.add_argument("--shown", type=int, default=12_000, help="clips shown per training (default: %(default)s)")
    parser.add_argument("--size", default="small", help="network size (default: %(default)s)")


def arms(arguments: argparse.Namespace, data: Data) -> Sequence[Arm]:
    """Return one arm per precision."""

    def run(seed: int, bfloat16: bool) -> dict[str, float]:
        train, test = data.unseen(seed)
        how = recipe(data, train, seed, arguments.shown, arguments.size)
        started = time.perf_counter()
        model, _ = fit(train, None, replace(how, schedule=replace(how.schedule, bfloat16=bfloat16)))
        return {**tested(model, test), "seconds": time.perf_counter() - started}

    return [Arm("float32", lambda seed: run(seed, False)), Arm("bfloat16", lambda seed: run(seed, True))]
