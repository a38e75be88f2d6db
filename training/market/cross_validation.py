"""The market's alerts on recorded prices, walking forward in time, beside plain baselines.

Each fold is learned from everything that ended 48 h before it and tested on what came next; calibration and thresholds
come from earlier folds, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from sklearn.base import clone

from training import progress
from training.calibration import PlattScaling
from training.data import quality, splits
from training.data.reading.reader import TableReader
from training.data.reading.style import Style, add_style
from training.evaluation.reliability import calibration_error
from training.market import baseline_tasks, onsets
from training.market import metrics as market_scores
from training.market import recorded as market_recorded
from training.market.ensembles import NESTING, AlertEnsembles, out_of_fold
from training.market.history import History
from training.market.metrics import EMBARGO, Walked
from training.market.rows import Table, tabulate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the market's evaluation asks for to a command line."""
    parser.add_argument("--folds", type=int, default=5, help="in time; the first is not scored (default: %(default)s)")
    parser.add_argument("--stride", type=int, default=4, help="every Nth hour (default: %(default)s)")
    add_style(parser)


def evaluate(arguments: argparse.Namespace, console: Console) -> None:
    """Score the sixteen questions and the plain tasks on a recorded market, and print them as tables."""
    history, faults = market_recorded.read(arguments.data, reader=TableReader(Style.of(arguments)))
    if faults:
        console.print(quality.report(faults), highlight=False)
    if described := history.left_out(arguments.stride):
        console.print(described, highlight=False)
    walked, table, areas = cross_validate(history, arguments.stride, arguments.folds, console)
    found = market_scores.scores(walked, table.outcomes)
    console.print(market_scores.markdown(found), highlight=False, markup=False)
    described = onsets.markdown(onsets.score_onsets(walked, table), onsets.count_alerts(walked))
    console.print(described, highlight=False, markup=False)
    means = {key: value for key, value in market_scores.metrics(found).items() if "." not in key}
    console.print("means: " + ", ".join(f"{key} {value:.3f}" for key, value in means.items()), highlight=False)
    console.print(f"logistic regression on the same features: auc {np.nanmean(areas):.3f}", highlight=False)
    console.print(fewer_markdown(on_fewer_assets(history, arguments.stride)), highlight=False, markup=False)
    plain = baseline_tasks.plain_tasks(history, arguments.folds)
    console.print(baseline_tasks.markdown(plain), highlight=False, markup=False)


def cross_validate(
    history: History, stride: int, folds: int, console: Console, ensembles: AlertEnsembles | None = None
) -> tuple[Walked, Table, list[float]]:
    """Return the ensembles' answers, what they are about, and a logistic regression's areas under the ROC curve.

    Parameters
    ----------
    history
        Prices and context.
    stride
        Learn from, and test on, every Nth hour.
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
    walked = market_scores.walk_forward(answers, table.outcomes, table.times)
    return walked, table, baseline_tasks.logistic_areas(table.features, happened, cut[1:])


@dataclass(frozen=True)
class Fewer:
    """What ensembles that learned from all assets are worth to who asks with some of them: means over the questions."""

    assets: int
    auc: float
    skill: float
    calibration_error: float


def on_fewer_assets(history: History, stride: int, ensembles: AlertEnsembles | None = None) -> list[Fewer]:
    """Learn from all assets of the first two thirds of a history; answer the last third with 13, 7, 5 and 3 of them.

    Calibration is from the second third, answered by ensembles that learned from the first.
    """
    table = tabulate(history, stride)
    happened = table.outcomes.happened
    [(first, second), (early, late)] = splits.by_time(table.times, 2, EMBARGO)
    answers = out_of_fold(ensembles or AlertEnsembles(), table.features, happened, [(first, second)])
    curve = PlattScaling.fit(answers.probabilities, happened[second])
    fitted = clone(ensembles or AlertEnsembles()).fit(table.features[early], happened[early])
    base = happened[early].mean(axis=0)
    since = table.times[late].min()
    found = []
    for count in sorted({len(history.assets), 7, 5, 3}, reverse=True):
        if count > len(history.assets):
            continue
        some = replace(history, assets=history.assets[:count], prices=history.prices[:, :count])
        asked = tabulate(some, stride)
        mine = asked.times >= since
        truth = asked.outcomes.happened[mine]
        predicted = NESTING(curve(fitted.predict_proba(asked.features[mine])))
        skills = 1 - ((predicted - truth) ** 2).mean(axis=0) / np.maximum(((base - truth) ** 2).mean(axis=0), 1e-12)
        areas = [market_scores.area(predicted[:, k], truth[:, k]) for k in range(truth.shape[1])]
        errors = [calibration_error(predicted[:, k], truth[:, k]) for k in range(truth.shape[1])]
        found.append(Fewer(count, float(np.nanmean(areas)), float(skills.mean()), float(np.mean(errors))))
    return found


def fewer_markdown(found: Sequence[Fewer]) -> str:
    """Return a table of what is left with fewer assets."""
    lines = ["| asked with | AUC | Brier skill | ECE |", "|---|---|---|---|"]
    lines += [
        f"| {one.assets} assets | {one.auc:.3f} | {one.skill:.3f} | {one.calibration_error:.3f} |" for one in found
    ]
    return "\n".join(lines)
