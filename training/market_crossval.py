"""The market's alerts on recorded prices, walking forward in time, beside plain baselines.

Each fold is learned from everything that ended 48 h before it and tested on what came next; calibration and thresholds
come from earlier folds, too.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console

from training import market_plain, market_scores, progress
from training.data import market_recorded, quality, splits
from training.data.market_history import History
from training.market_fit import AlertEnsembles, out_of_fold
from training.market_scores import EMBARGO, Score
from training.market_table import tabulate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the market's evaluation asks for to a command line."""
    parser.add_argument("--folds", type=int, default=5, help="in time; the first is not scored (default: %(default)s)")
    parser.add_argument("--stride", type=int, default=4, help="one in so many hours (default: %(default)s)")


def evaluate(arguments: argparse.Namespace, console: Console) -> None:
    """Score the sixteen questions and the plain tasks on a recorded market, and print them as tables."""
    history, faults = market_recorded.read(arguments.data)
    if faults:
        console.print(quality.report(faults), highlight=False)
    found, areas = cross_validate(history, arguments.stride, arguments.folds, console)
    console.print(market_scores.markdown(found), highlight=False, markup=False)
    means = {key: value for key, value in market_scores.metrics(found).items() if "." not in key}
    console.print("means: " + ", ".join(f"{key} {value:.3f}" for key, value in means.items()), highlight=False)
    console.print(f"logistic regression on the same features: auc {np.nanmean(areas):.3f}", highlight=False)
    plain = market_plain.plain_tasks(history, arguments.folds)
    console.print(market_plain.markdown(plain), highlight=False, markup=False)


def cross_validate(
    history: History, stride: int, folds: int, console: Console, ensembles: AlertEnsembles | None = None
) -> tuple[list[Score], list[float]]:
    """Score the ensembles' answers, and return beside them a logistic regression's areas under the ROC curve.

    Parameters
    ----------
    history
        Prices and context.
    stride
        Learn from, and test on, one in so many hours.
    folds
        At least two; the first is not scored.
    console
        Where progress is shown.
    ensembles
        What to fit; those that are trained by default.
    """
    table = tabulate(history, stride)
    happened = table.outcomes.happened
    cut = splits.by_time(table.times, folds, EMBARGO)
    with progress.counted(console, "fitting", 4 * folds) as shown:
        answers = out_of_fold(ensembles or AlertEnsembles(), table.features, happened, cut, shown)
    found = market_scores.scores(market_scores.walk_forward(answers, happened, table.times), table.outcomes)
    return found, market_plain.logistic_areas(table.features, happened, cut[1:])
