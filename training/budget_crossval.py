"""The budget family on recorded card payments: each model beside its plain baselines."""

from __future__ import annotations

import argparse

from rich.console import Console

from training import budget_anomaly, budget_categorizer, budget_forecast
from training.budget import MODELS
from training.budget_categorizer_recorded import by_card, by_time, cross_validate, markdown
from training.data import budget_recorded, quality


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the family's evaluation asks for to a command line."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="which to evaluate (default: all)")
    parser.add_argument("--folds", type=int, default=2, help="of the categorizer (default: %(default)s)")
    parser.add_argument(
        "--most", type=int, default=60_000, help="last rows that the categorizer learns from (default: %(default)s)"
    )


def evaluate(arguments: argparse.Namespace, console: Console) -> None:
    """Print a table per model and split."""
    if budget_categorizer.MODEL in arguments.models:
        frame, faults = budget_recorded.read(arguments.data)
        if faults:
            console.print(quality.report(faults).splitlines()[0], highlight=False)
        for name, folds in (("by time", by_time), ("by card", by_card)):
            scores = cross_validate(frame, folds(frame, arguments.folds), arguments.most, console)
            console.print(f"\n{budget_categorizer.MODEL}, {name}, {arguments.folds} folds\n", highlight=False)
            console.print(markdown(scores) + "\n", highlight=False, markup=False)
    path = budget_recorded.file(arguments.data)
    if budget_anomaly.MODEL in arguments.models:
        budget_anomaly.evaluate_recorded(path, console)
    if budget_forecast.MODEL in arguments.models:
        budget_forecast.evaluate_recorded(path, console)
