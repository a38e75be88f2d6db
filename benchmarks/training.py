"""Measure how fast SignFlow trains: one process, or several that share each batch.

    OMP_NUM_THREADS=2 python -m benchmarks.training --size small
    torchrun --nproc-per-node 2 benchmarks/training.py --size small      # each one thread, or one GPU

Prints clips/s of training alone (no validation, no checkpoint), the mean of some passes over a few batches after one
that is not counted, and the seconds that a pass over all the data takes at that rate.
"""

import argparse
import sys
import time

import numpy as np
import torch

from benchmarks.host import describe_machine
from marina.settings import read_settings
from models.signflow.network import SIZES
from training import tracking
from training.data.manifest import SYNTHETIC
from training.neural.distributed import joined
from training.neural.schedule import Schedule
from training.signflow.experiments import harness
from training.signflow.fit import Recipe, fit


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=SYNTHETIC, metavar="PATH", help='an .npz file, or "synthetic" (default)')
    parser.add_argument("--size", default="small", choices=SIZES, help="network size (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="clips per step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="steps per pass (default: %(default)s)")
    parser.add_argument("--passes", type=int, default=3, help="passes that count (default: %(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    options = parser.parse_args(argv)
    data = harness.load(options.data)
    chosen = np.random.default_rng(0).permutation(len(data.clips))[: options.batch_size * options.steps]
    recipe = Recipe(size=options.size, batch_size=options.batch_size, schedule=Schedule(epochs=1 + options.passes))
    ended: list[float] = []
    with joined(options.device) as team:
        fit(
            data.clips.select(chosen),
            None,
            recipe,
            device=team.device,
            on_epoch=lambda epoch: ended.append(time.perf_counter()),
            team=team,
        )
    if team.first:
        rates = len(chosen) / np.diff(ended)
        with tracking.run(
            "training-speed", read_settings().state_dir, {**vars(options), "processes": team.size}
        ) as run:
            run.metrics({"clips_per_s": float(rates.mean())})
        print(f"{options.size} on {data.name}, batches of {options.batch_size}, on {describe_machine()}")
        print(f"{team.size} x {torch.get_num_threads()} threads: {rates.mean():.0f} clips/s ", end="")
        print(f"({rates.min():.0f} to {rates.max():.0f}), {len(data.clips) / rates.mean():.1f} s an epoch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
