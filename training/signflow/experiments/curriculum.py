"""Whether easy clips first make training shorter or better.

Every arm is shown the same number of clips, those that the confidence's network was trained on included. "random" has
the pace of a curriculum and no order of difficulty: what it gains is not due to easy clips coming first. "usual,
longer" is shown a third more, all in the usual order: a curriculum that keeps the hope of a quarter fewer clips is as
accurate as that.

The test people are also those that the curve over the epochs is measured on; nothing is chosen by it, and `accuracy` is
the last epoch's.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from training.signflow.clips import Clips
from training.signflow.curriculum import BRIEFLY, by_confidence, by_length, easy_first
from training.signflow.experiments.harness import Arm, Data, Outcome, estimates, recipe
from training.signflow.fit import USUAL, Recipe, Technique, fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

USUALLY = "usual"
ORDERS = (USUALLY, "length", "confidence", "random")
LONGER = f"{USUALLY}, longer"
THIRDS = {"after 1/3": 1 / 3, "after 2/3": 2 / 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this experiment's options."""
    parser.add_argument(
        "--epochs", type=int, default=6, help="passes over the clips, a multiple of 3 (default: %(default)s)"
    )
    parser.add_argument("--size", default="small", help="network size (default: %(default)s)")


def arms(arguments: argparse.Namespace, data: Data) -> Sequence[Arm]:
    """Return one arm per order of the clips, and the usual one for a third longer."""

    def run(order: str, epochs: int, seed: int) -> Mapping[str, float]:
        train, test = data.unseen(seed)
        usual = recipe(data, train, seed, epochs * len(train), arguments.size)
        spent = round(BRIEFLY * epochs) if order == "confidence" else 0
        how = replace(usual, schedule=replace(usual.schedule, epochs=epochs - spent))
        _, fitted = fit(train, test, how, _technique(order, train, how, spent))
        at = spent + np.arange(len(fitted.history) + 1)
        accuracies = [1 / len(train.signs), *(epoch.score for epoch in fitted.history)]
        on_the_way = {name: float(np.interp(third * epochs, at, accuracies)) for name, third in THIRDS.items()}
        return {"accuracy": accuracies[-1], **on_the_way, "epochs": epochs}

    orders = [Arm(order, partial(run, order, arguments.epochs)) for order in ORDERS]
    return [*orders, Arm(LONGER, partial(run, USUALLY, arguments.epochs * 4 // 3))]


def figure(arms: Sequence[Arm], outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw the mean accuracy over the epochs, a curve per arm."""
    from matplotlib.figure import Figure

    plot = Figure(figsize=(7, 4), layout="constrained")
    axes = plot.subplots()
    means = {metric: estimates(arms, outcomes, metric) for metric in (*THIRDS, "accuracy", "epochs")}
    for place, arm in enumerate(arm for arm in arms if arm.name in means["epochs"]):
        epochs = means["epochs"][arm.name].mean
        shown = [means[metric][arm.name] for metric in (*THIRDS, "accuracy")]
        at = epochs * np.array([*THIRDS.values(), 1.0]) + 0.05 * place  # beside each other, for the intervals
        halves = [one.half if np.isfinite(one.half) else 0.0 for one in shown]
        axes.errorbar(at, [one.mean for one in shown], halves, marker="o", capsize=3, label=arm.name)
    axes.set_ylim(0, 1)
    axes.set_xlabel("clips shown, in passes over all of them")
    axes.set_ylabel("accuracy on unseen people, 95 % interval")
    axes.set_title(title)
    axes.legend(loc="lower right")
    return plot


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
