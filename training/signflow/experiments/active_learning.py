"""Whether asking for the labels of uncertain clips saves labels.

Each round a fresh network is trained on the clips labelled so far (as many clips shown in every round), scored on
unseen people, and asked which of the training people's other clips should be labelled next. All strategies of a seed
begin with the same clips, drawn at random.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.data.splits import Indices
from training.signflow.active_learning import STRATEGIES, highest
from training.signflow.experiments.harness import Arm, Data, Outcome, recipe, tested, trained
from training.signflow.fit import USUAL, Recipe, Technique, probabilities

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from training.signflow.clips import Clips

Curve = npt.NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this experiment's options."""
    parser.add_argument("--shown", type=int, default=12_000, help="clips shown per training (default: %(default)s)")
    parser.add_argument("--size", default="small", help="network size (default: %(default)s)")
    parser.add_argument(
        "--step", type=float, default=0.05, help="share labelled at first and per round (default: 0.05)"
    )
    parser.add_argument("--rounds", type=int, default=4, help="rounds after the first (default: %(default)s)")


def arms(arguments: argparse.Namespace, data: Data) -> Sequence[Arm]:
    """Return one arm per strategy."""
    shares = arguments.step * np.arange(1, arguments.rounds + 2)

    @cache
    def curves(strategy: str, seed: int) -> tuple[Curve, Curve]:
        """Return accuracy and macro-F1 at each share of labels."""
        train, test = data.unseen(seed)
        counts = np.rint(shares * len(train)).astype(int)
        how = short(recipe(data, train, seed, arguments.shown, arguments.size))
        rng = np.random.default_rng(seed)
        labelled = rng.permutation(len(train))[: counts[0]].astype(np.int64)
        accuracy, macro_f1 = [], []
        for round_, count in enumerate(counts):
            identity = hashlib.sha256(np.sort(labelled).tobytes()).hexdigest()[:8]
            technique = Technique(order=only(labelled))
            model = trained(data, seed, how, arguments.out / "weights", technique, f"labelled-{identity}")
            metrics = tested(model, test)
            accuracy.append(metrics["accuracy"])
            macro_f1.append(metrics["macro_f1"])
            if round_ < arguments.rounds:
                others = np.setdiff1d(np.arange(len(train)), labelled)
                scores = STRATEGIES[strategy](probabilities(model, train.select(others).sequences), rng)
                chosen = others[highest(scores, counts[round_ + 1] - count)]
                labelled = np.concatenate([labelled, chosen])
        return np.array(accuracy), np.array(macro_f1)

    def run(strategy: str, seed: int) -> dict[str, float]:
        train, test = data.unseen(seed)
        accuracy, macro_f1 = curves(strategy, seed)
        plain, _ = curves("random", seed)
        how = short(recipe(data, train, seed, arguments.shown, arguments.size))
        whole = tested(trained(data, seed, how, arguments.out / "weights", USUAL), test)["accuracy"]
        return {
            "area": area(shares, accuracy),
            "area_f1": area(shares, macro_f1),
            "labels_saved": saved(shares, accuracy, plain),
            **{f"accuracy_{share:.0%}": value for share, value in zip(shares, accuracy, strict=True)},
            "accuracy_100%": whole,
        }

    return [Arm(strategy, partial(run, strategy)) for strategy in STRATEGIES]


def short(how: Recipe) -> Recipe:
    """Return a recipe for few clips shown: more and larger steps, averaged over fewer of them."""
    schedule = replace(how.schedule, learning_rate=4e-3, ema_decay=0.95)
    return replace(how, batch_size=16, mixup=0.0, schedule=schedule)


def only(labelled: Indices) -> Callable[[Clips, Recipe, int, np.random.Generator], Indices]:
    """Return an order that shows these clips alone, over and over, until as many are shown as there are clips."""

    def order(clips: Clips, recipe: Recipe, number: int, rng: np.random.Generator) -> Indices:
        times = math.ceil(len(clips) / len(labelled))
        return np.concatenate([rng.permutation(labelled) for _ in range(times)])[: len(clips)]

    return order


def area(shares: Curve, values: Curve) -> float:
    """Return the mean of a curve over the shares of labels (trapezoids)."""
    return float(np.trapezoid(values, shares) / (shares[-1] - shares[0]))


def saved(shares: Curve, accuracy: Curve, plain: Curve) -> float:
    """Return what share of the labels is saved at equal accuracy, negative where more are needed.

    The mean over all accuracies that both curves reach, NaN where they share none. A curve has reached an accuracy as
    soon as one of its rounds had it; between rounds it is taken to rise evenly.
    """
    reached, reached_plain = np.maximum.accumulate(accuracy), np.maximum.accumulate(plain)
    lowest, most = max(reached[0], reached_plain[0]), min(reached[-1], reached_plain[-1])
    if lowest >= most:
        return math.nan
    levels = lowest + (most - lowest) * (np.arange(100) + 0.5) / 100
    return float(1 - (np.interp(levels, reached, shares) / np.interp(levels, reached_plain, shares)).mean())


def figure(arms: Sequence[Arm], outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw accuracy over the share of labels, each strategy's mean, and all labels' as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    names = [name for name in outcomes[0].metrics if name.startswith("accuracy_")]
    percent = [int(name.removeprefix("accuracy_").removesuffix("%")) for name in names]
    for arm in arms:
        own = np.array([[one.metrics[name] for name in names] for one in outcomes if one.arm == arm.name])
        (line,) = axes.plot(percent[:-1], own.mean(0)[:-1], "o-", label=arm.name)
        for seed in own:
            axes.plot(percent[:-1], seed[:-1], color=line.get_color(), alpha=0.25, linewidth=1)
        axes.axhline(own.mean(0)[-1], color="tab:gray", linestyle=":", linewidth=1)
    axes.set_xlabel("share of the training clips that is labelled, % (dotted: all of them)")
    axes.set_ylabel("accuracy on unseen people")
    axes.set_title(f"{title}: mean of the seeds, and each")
    axes.legend()
    return figure
