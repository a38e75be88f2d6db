"""The budget family on recorded card payments: each model beside its plain baselines."""

from __future__ import annotations

import argparse

from rich.console import Console

from training.budget import recorded as budget_recorded
from training.budget.anomaly import cross_validation as anomaly
from training.budget.categorizer.cross_validation import by_card, by_time, cross_validate, markdown
from training.budget.forecast import cross_validation as forecast
from training.budget.recipe import MODELS
from training.data import quality
from training.data.reading.reader import TableReader
from training.data.reading.style import Style, add_style

CATEGORIZER, ANOMALY, FORECAST = MODELS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the family's evaluation asks for to a command line."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="which to evaluate (default: all)")
    parser.add_argument("--folds", type=int, default=2, help="of the categorizer (default: %(default)s)")
    parser.add_argument(
        "--most", type=int, default=60_000, help="last rows that the categorizer learns from (default: %(default)s)"
    )
    add_style(parser)


def evaluate(arguments: argparse.Namespace, console: Console) -> None:
    """Print a table per model and split."""
    reader = TableReader(Style.of(arguments))
    if CATEGORIZER in arguments.models:
        frame, faults = budget_recorded.read(arguments.data, reader=reader)
        if faults:
            console.print(quality.report(faults).splitlines()[0], highlight=False)
        for name, folds in (("by time", by_time), ("by card", by_card)):
            scores = cross_validate(frame, folds(frame, arguments.folds), arguments.most, console)
            console.print(f"\n{CATEGORIZER}, {name}, {arguments.folds} folds\n", highlight=False)
            console.print(markdown(scores) + "\n", highlight=False, markup=False)
    path = budget_recorded.file(arguments.data)
    if ANOMALY in arguments.models:
        anomaly.evaluate(path, console, reader=reader)
    if FORECAST in arguments.models:
        forecast.evaluate(path, console, reader=reader)
