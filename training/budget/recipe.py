"""The budget family's recipes: a categorizer, a detector of anomalies, a forecaster of the month's end.

Each is its own module and trains on its own; this one says which, and with which options.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from marina.rollout.promotion import Rule
from training.budget.anomaly import recipe as budget_anomaly
from training.budget.categorizer import recipe as budget_categorizer
from training.budget.categorizer.dataset import check_enough, read_recorded
from training.budget.forecast import recipe as budget_forecast
from training.budget.plausibility import check_plausible
from training.budget.synthetic.accounts import Synthesis
from training.cli import add_search, add_shared
from training.data import manifest
from training.data.quality import BadDataError
from training.data.reading.style import Style, add_style

if TYPE_CHECKING:
    import pandas as pd

MODELS: Final = (budget_categorizer.MODEL, budget_anomaly.MODEL, budget_forecast.MODEL)
RULES: Final = {
    budget_categorizer.MODEL: Rule("model_weighted_f1", 0.75),
    budget_anomaly.MODEL: Rule("auc", 0.8),
    budget_forecast.MODEL: Rule("wape", 0.5, less_is_better=True, slice_bound=5.0),  # EUR a category and month
}
EDITED_RULES: Final = budget_categorizer.MODEL


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


def load(options: Options, console: Console) -> tuple[pd.DataFrame, manifest.Manifest]:
    """Read recorded transactions, which the categorizer learns from, and show how, and what they are too few for."""
    chosen = options.categorizer
    frame, data = read_recorded(chosen.data, chosen.on_bad, chosen.style, console)
    for odd in check_plausible(frame, data.name):
        console.print(odd, highlight=False, markup=False)
    try:
        check_enough(frame, data.name)
    except BadDataError as error:
        console.print(f"too little to train on: {error.faults[0].detail}", highlight=False, markup=False)
        return frame[:0], data
    return frame, data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the family's options to a command line."""
    usual = budget_categorizer.Options()
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="which to train (default: all)")
    add_shared(
        parser,
        "a bank's export or a folder of them: date, label, amount; category (empty where not known), user, account",
    )
    add_style(parser)
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
        "--precision",
        type=float,
        default=usual.precision,
        help="share of the categorizer's sure answers to be right where all is new (default: %(default)s)",
    )


def from_arguments(arguments: argparse.Namespace, home: Path) -> Options:
    """Return the options that a command line means."""
    usual = budget_categorizer.Options()
    given = {name: value for name in ("users", "months", "trials") if (value := getattr(arguments, name)) is not None}
    shared: dict[str, Any] = {name: getattr(arguments, name) for name in ("seed", "budget_s", "quick")} | {"home": home}
    return Options(
        models=tuple(arguments.models),
        categorizer=budget_categorizer.Options(
            **shared,
            data=arguments.data,
            synthesis=Synthesis(
                given.get("users", usual.synthesis.users), given.get("months", usual.synthesis.months), arguments.seed
            ),
            rules=arguments.rules,
            mode=arguments.mode,
            trials=given.get("trials", usual.trials),
            precision=arguments.precision,
            on_bad=arguments.on_bad,
            style=Style.of(arguments),
        ),
        anomaly=budget_anomaly.Options(**shared, **given),
        forecast=budget_forecast.Options(**shared, **given),
    )
