"""The budget family's recipes: a categorizer, a detector of anomalies, a forecaster of the month's end.

Each is its own module and trains on its own; this one says which, and with which options.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from training import budget_anomaly, budget_categorizer, budget_forecast
from training.arguments import add_search, add_shared
from training.data.budget_synthetic import Synthesis

MODELS: Final = (budget_categorizer.MODEL, budget_anomaly.MODEL, budget_forecast.MODEL)


@dataclass(frozen=True)
class Options:
    """One training of the family.

    Attributes
    ----------
    models
        Which of `MODELS`.
    categorizer, anomaly, forecast
        How each is trained.
    """

    models: tuple[str, ...] = MODELS
    categorizer: budget_categorizer.Options = field(default_factory=budget_categorizer.Options)
    anomaly: budget_anomaly.Options = field(default_factory=budget_anomaly.Options)
    forecast: budget_forecast.Options = field(default_factory=budget_forecast.Options)


def train(options: Options, console: Console | None = None) -> dict[str, Any]:
    """Train the models asked for; return what was trained by name, as the model's own module describes it."""
    console = console or Console(quiet=True)
    recipes: dict[str, Callable[[], Any]] = {
        budget_categorizer.MODEL: lambda: budget_categorizer.train(options.categorizer, console),
        budget_anomaly.MODEL: lambda: budget_anomaly.train(options.anomaly, console),
        budget_forecast.MODEL: lambda: budget_forecast.train(options.forecast, console),
    }
    trained = {}
    for model in options.models:
        console.rule(model)
        trained[model] = recipes[model]()
    return trained


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the family's options to a command line."""
    usual = budget_categorizer.Options()
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="which to train (default: all)")
    add_shared(
        parser,
        "a .csv or .parquet file of label, amount, date, category (empty where not known), user for the categorizer",
    )
    add_search(parser, None, 60.0)
    parser.add_argument("--users", type=int, help="synthetic households (default: each model's own)")
    parser.add_argument("--months", type=int, help="months of each (default: each model's own)")
    parser.add_argument(
        "--rules", type=Path, default=usual.rules, help="the categorizer's rules, YAML or JSON (default: the project's)"
    )
    parser.add_argument(
        "--mode", choices=budget_categorizer.MODES, default=usual.mode, help="who answers (default: %(default)s)"
    )
    parser.add_argument(
        "--coverage",
        type=float,
        default=usual.coverage,
        help="share of transactions that the categorizer is to be sure of (default: %(default)s)",
    )


def from_arguments(arguments: argparse.Namespace, home: Path) -> Options:
    """Return the options that a command line means."""
    usual = budget_categorizer.Options()
    stated = {name: value for name in ("users", "months", "trials") if (value := getattr(arguments, name)) is not None}
    shared: dict[str, Any] = {"home": home, "seed": arguments.seed, "budget_s": arguments.budget_s}
    return Options(
        models=tuple(arguments.models),
        categorizer=budget_categorizer.Options(
            **shared,
            data=arguments.data,
            synthesis=Synthesis(
                stated.get("users", usual.synthesis.users), stated.get("months", usual.synthesis.months), arguments.seed
            ),
            rules=arguments.rules,
            mode=arguments.mode,
            trials=stated.get("trials", usual.trials),
            coverage=arguments.coverage,
            on_bad=arguments.on_bad,
        ),
        anomaly=budget_anomaly.Options(**shared, **stated),
        forecast=budget_forecast.Options(**shared, **stated),
    )
