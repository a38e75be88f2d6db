"""Whether easy clips first make training shorter or better.

Every arm is shown the same number of clips, those that the confidence's network was trained on included. "random" has
the pace of a curriculum and no order of difficulty: what it gains is not due to easy clips coming first. The arms of
three quarters ask the product's hope directly: as accurate as usual after a quarter fewer clips?

The test people are also those that the curve over the epochs is measured on; nothing is chosen by it, and `accuracy` is
the last epoch's. A target never reached counts as reached at the end.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from training.data.signflow_clips import Clips
from training.experiment import Arm, Data, Outcome, estimates, recipe
from training.signflow_curriculum import by_confidence, by_length, easy_first
from training.signflow_fit import USUAL, Recipe, Technique, fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

USUALLY = "usual"
ORDERS = (USUALLY, "length", "confidence", "random")
SHORTER = 0.75
QUARTERS = (0.25, 0.5, 0.75)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this experiment's options."""
    parser.add_argument(
        "--epochs", type=int, default=8, help="passes over the clips, a multiple of 4 (default: %(default)s)"
    )
    parser.add_argument("--size", default="small", help="network size (default: %(default)s)")
    parser.add_argument(
        "--target", type=float, default=0.5, help="accuracy that the way to is measured (default: %(default)s)"
    )


def arms(arguments: argparse.Namespace, data: Data) -> Sequence[Arm]:
    """Return one arm per order of the clips, and one per order in three quarters of the time."""

    def run(order: str, share: float, seed: int) -> Mapping[str, float]:
        train, test = data.unseen(seed)
        usual = recipe(data, train, seed, arguments.epochs * len(train), arguments.size)
        epochs = round(share * arguments.epochs)
        spent = max(1, epochs // 4) if order == "confidence" else 0
        how = replace(usual, schedule=replace(usual.schedule, epochs=epochs - spent))
        _, fitted = fit(train, test, how, _technique(order, train, how, spent))
        at = spent + np.arange(len(fitted.history) + 1)
        accuracies = [1 / len(train.signs), *(epoch.score for epoch in fitted.history)]
        quarters = np.interp([quarter * arguments.epochs for quarter in QUARTERS], at, accuracies)
        return {
            "accuracy": accuracies[-1],
            **{f"after {quarter:g}": value for quarter, value in zip(QUARTERS, quarters.tolist(), strict=True)},
            "epochs": epochs,
            f"epochs to {arguments.target:g}": _first(at.tolist(), accuracies, arguments.target),
        }

    full = [Arm(order, partial(run, order, 1.0)) for order in ORDERS]
    return [*full, *(Arm(f"{order}, {SHORTER:.0%}", partial(run, order, SHORTER)) for order in ORDERS[:3])]


def figure(arms: Sequence[Arm], outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw the mean accuracy over the share of the clips shown, for the arms that are shown all."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7, 4), layout="constrained")
    axes = drawn.subplots()
    means = {metric: estimates(arms, outcomes, metric) for metric in (*(f"after {q:g}" for q in QUARTERS), "accuracy")}
    for place, name in enumerate(ORDERS):
        shown = [of[name] for of in means.values() if name in of]
        if len(shown) < len(means):
            continue
        at = np.array([*QUARTERS, 1.0]) + 0.006 * place  # beside each other, so that the intervals can be read
        axes.errorbar(
            at, [one.mean for one in shown], [min(one.half, 1.0) for one in shown], marker="o", capsize=3, label=name
        )
    axes.set_ylim(0, 1)
    axes.set_xlabel("share of the clips shown")
    axes.set_ylabel("accuracy on unseen people, 95 % interval")
    axes.set_title(title)
    axes.legend()
    return drawn


def _technique(order: str, train: Clips, how: Recipe, spent: int) -> Technique:
    if order == USUALLY:
        return USUAL
    if order == "length":
        difficulty = by_length(train)
    elif order == "confidence":
        difficulty = by_confidence(train, how, spent)
    else:
        difficulty = np.zeros(len(train))
    return easy_first(difficulty, order, how.schedule.seed)


def _first(at: Sequence[float], accuracies: Sequence[float], target: float) -> float:
    # where the curve first reaches the target, straight lines between the epochs; its end if it never does
    points = list(zip(at, accuracies, strict=True))
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if y1 >= target:
            return x0 + (x1 - x0) * (target - y0) / (y1 - y0)
    return at[-1]
