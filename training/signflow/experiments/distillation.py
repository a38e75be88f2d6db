"""Whether a small network learns more from a large one's answers than from the labels alone.

The teacher (size large) and its students (size small) learn from the same people and are tested on the same others.
The student alone and the distilled one are shown the same clips; what the teacher's answers cost comes on top.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from training.signflow.distillation import ALPHA, TEMPERATURE, distilled, network_teacher
from training.signflow.experiments.harness import Arm, Data, differences, recipe, tested, trained

figure = differences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this experiment's options."""
    parser.add_argument("--shown", type=int, default=20_000, help="clips shown to a student (default: %(default)s)")
    parser.add_argument(
        "--teacher-shown", type=int, default=20_000, help="clips shown to the teacher (default: %(default)s)"
    )
    parser.add_argument("--teacher-size", default="large", help="network size (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=TEMPERATURE, help="default: %(default)s")
    parser.add_argument("--alpha", type=float, default=ALPHA, help="weight of the labels (default: %(default)s)")


def arms(arguments: argparse.Namespace, data: Data) -> Sequence[Arm]:
    """Return the student alone, the distilled one, and their teacher."""
    weights = arguments.out / "weights"
    of = f"{arguments.teacher_size}-{arguments.teacher_shown}"
    name = f"distilled-{of}-{arguments.temperature:g}-{arguments.alpha:g}"

    def teacher(seed: int) -> dict[str, float]:
        train, test = data.unseen(seed)
        how = recipe(data, train, seed, arguments.teacher_shown, arguments.teacher_size)
        return tested(trained(data, seed, how, weights), test)

    def alone(seed: int) -> dict[str, float]:
        train, test = data.unseen(seed)
        return tested(trained(data, seed, recipe(data, train, seed, arguments.shown), weights), test)

    def student(seed: int) -> dict[str, float]:
        train, test = data.unseen(seed)
        large = recipe(data, train, seed, arguments.teacher_shown, arguments.teacher_size)
        technique = distilled(
            network_teacher(trained(data, seed, large, weights)), of, arguments.temperature, arguments.alpha
        )
        how = recipe(data, train, seed, arguments.shown)
        return tested(trained(data, seed, how, weights, technique, name), test)

    return [Arm("student alone", alone), Arm("student distilled", student), Arm("teacher", teacher)]
