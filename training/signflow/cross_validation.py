"""SignFlow against a plain baseline on recorded signing, on signers neither has seen.

Both are cross-validated on the same folds of whole signers. Nothing is chosen by the fold that is tested: the network
trains to the end of its schedule and its last EMA weights answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.signflow.network import SIZES
from training.data import splits
from training.data.quality import BadDataError
from training.data.splits import Indices
from training.evaluation.classification import Report
from training.evaluation.classification import evaluate as report
from training.signflow import recorded
from training.signflow.clips import Clips
from training.signflow.fit import RECORDED, fit, probabilities, recipe_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what SignFlow's evaluation asks for to a command line."""
    parser.add_argument("--folds", type=int, default=4, help="folds of whole signers (default: %(default)s)")
    parser.add_argument("--only", type=int, nargs="*", default=[], metavar="FOLD", help="do these folds only, from 0")
    parser.add_argument("--size", default=RECORDED.size, choices=SIZES, help="network size (default: %(default)s)")


def evaluate(arguments: argparse.Namespace, console: Console) -> None:
    """Cross-validate every labelled set there is, and print a table of them."""
    results = []
    for file in recorded.files(arguments.data):
        try:
            results.append(cross_validate(file, arguments.size, arguments.folds, console, arguments.only))
        except BadDataError:
            console.print(f"{file.name} has no labelled sequence; left out", highlight=False)
    console.print(markdown(results), highlight=False, markup=False)


@dataclass(frozen=True)
class Fold:
    """One fold: clips tested, and what network and baseline made of them."""

    tested: int
    network: Report
    baseline: Report


@dataclass(frozen=True)
class Result:
    """One data set's folds."""

    name: str
    clips: Clips
    folds: tuple[Fold, ...]

    def mean(self, who: str, metric: str) -> float:
        """Return the mean over folds of a metric of "network" or "baseline"."""
        return float(np.mean([getattr(fold, who).metrics[metric] for fold in self.folds]))


def cross_validate(file: Path, size: str, folds: int, console: Console, only: Sequence[int] = ()) -> Result:
    """Train and test network and baseline on each fold.

    Parameters
    ----------
    file
        An ``.npz`` file of recorded sequences.
    size
        The network's; `recipe_for` says how it is trained.
    folds
        How many.
    console
        Where each fold's result is shown.
    only
        Numbers of the folds to do, from 0; all if empty.
    """
    clips, _ = recorded.read(file)
    done = []
    for number, (train, test) in enumerate(splits.folds(clips.signers, folds)):
        if only and number not in only:
            continue
        model, fitted = fit(clips.select(train), None, recipe_for(clips.select(train), size))
        answers = probabilities(model, clips.select(test).sequences)
        network = report(answers, clips.labels[test], clips.signs)
        baseline = report(_forest(clips, train, test), clips.labels[test], clips.signs)
        done.append(Fold(len(test), network, baseline))
        console.print(
            f"{file.stem} fold {number + 1}/{folds}: {len(test)} clips, {len(fitted.history)} epochs, accuracy "
            f"{network.accuracy:.3f} (forest {baseline.accuracy:.3f}), macro-F1 {network.macro_f1:.3f} "
            f"(forest {baseline.macro_f1:.3f})",
            highlight=False,
        )
    return Result(file.stem, clips, tuple(done))


def markdown(results: Sequence[Result]) -> str:
    """Return a table of results in Markdown, means over folds and the range of the network's accuracy."""
    lines = [
        "| set | clips | signs | folds | SignFlow accuracy (worst to best fold) | macro-F1 | top-5 "
        "| forest accuracy | forest macro-F1 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        accuracies = [fold.network.accuracy for fold in result.folds]
        numbers = [result.mean("network", metric) for metric in ("macro_f1", "top5")]
        numbers += [result.mean("baseline", metric) for metric in ("accuracy", "macro_f1")]
        lines.append(
            f"| {result.name} | {len(result.clips)} | {len(result.clips.signs)} | {len(result.folds)} "
            f"| **{np.mean(accuracies):.2f}** ({min(accuracies):.2f} to {max(accuracies):.2f}) | "
            + " | ".join(f"{number:.2f}" for number in numbers)
            + " |"
        )
    return "\n".join(lines)


def _forest(clips: Clips, train: Indices, test: Indices) -> npt.NDArray[np.float64]:
    # the plain baseline: mean and deviation of each coordinate over time, in a forest of 300 trees
    from sklearn.ensemble import RandomForestClassifier

    pooled = np.stack([np.concatenate([frames.mean(0), frames.std(0)]) for frames in clips.sequences])
    forest = RandomForestClassifier(300, random_state=0).fit(pooled[train], clips.labels[train])
    answers = np.zeros((len(test), len(clips.signs)))
    answers[:, forest.classes_] = forest.predict_proba(pooled[test])
    return answers
