"""The market's recipe: from hourly prices to sixteen calibrated ensembles and everything their archive has to prove.

options ─ load ─> history ─ tabulate ─> features, outcomes ─ search ─> settings ─ learn ─> Trained
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models.market.alerts import ALERTS, LABELS, QUESTIONS
from models.market.features import NAMES, usual
from training import features_report, market_scores, progress, tracking
from training.arguments import add_search, add_shared
from training.data import manifest, market_recorded, quality, splits
from training.data.market_history import History
from training.data.market_synthetic import Synthesis, generate
from training.market_fit import LEAST_ROWS, AlertEnsembles, mean_auc
from training.market_learn import Learned, learn
from training.market_table import Table, tabulate
from training.search import Candidate, search

SYNTHETIC = "synthetic"
MODEL = "market_alerts"
MODELS = (MODEL,)
EXPLAINED_ROWS = 150


@dataclass(frozen=True)
class TrainOptions:
    """One training run.

    Attributes
    ----------
    data
        "synthetic", or the folder of a recorded market.
    home
        Folder of the local MLflow database.
    synthesis
        What to synthesise, where `data` says so.
    ensembles
        What to fit; where trials are asked for, where their search begins.
    stride
        Learn from one in so many hours.
    folds
        Of the evaluation; at least two.
    trials, budget_s
        How many settings of the ensembles to compare, and for how long at most; one trial compares none.
    on_bad
        Whether bad recorded data is skipped or refused.
    seed
        Of all chance.
    """

    data: str = SYNTHETIC
    home: Path = Path(".marina")
    synthesis: Synthesis = field(default_factory=lambda: Synthesis(hours=8_000))
    ensembles: AlertEnsembles = field(default_factory=AlertEnsembles)
    stride: int = 4
    folds: int = 4
    trials: int = 1
    budget_s: float = 300.0
    on_bad: quality.OnBad = "skip"
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """What was learned, and where from.

    Attributes
    ----------
    learned
        Ensembles, calibration, thresholds, and what their certificate is made of.
    params
        Of the run.
    data_manifest_sha256, mlflow_run_id
        Which data and which run.
    """

    learned: Learned
    params: dict[str, str | int | float]
    data_manifest_sha256: str
    mlflow_run_id: str

    @property
    def metrics(self) -> dict[str, float]:
        """What was measured on the time held out."""
        return market_scores.metrics(self.learned.scores)


def train(options: TrainOptions, console: Console | None = None) -> dict[str, Trained]:
    """Train the ensembles, score them by walking forward in time, and record the run in MLflow.

    Raises
    ------
    training.data.quality.BadDataError
        If the data is bad and `options` says to refuse it.
    FileNotFoundError
        If there is no data at the path.
    ValueError
        If the history is too short to learn from.
    """
    console = console or Console(quiet=True)
    history, data = load(options, console)
    table = tabulate(history, options.stride)
    if len(table.times) < LEAST_ROWS:
        raise ValueError(
            f"expected at least {LEAST_ROWS} hours to learn from, got {len(table.times)}: give a longer history, or "
            "take more of its hours (--stride)"
        )
    folds = splits.by_time(table.times, options.folds, market_scores.EMBARGO)
    params = _params(options, history, table)
    with tracking.run("market", options.home, params, data) as run:
        ensembles = _searched(options, table, folds, run, console)
        with progress.counted(console, "fitting", (options.folds + 1) * len(ALERTS)) as shown:
            learned = learn(history, table, ensembles, folds, options.seed, shown)
        console.print(market_scores.markdown(learned.scores), highlight=False, markup=False)
        run.metrics(market_scores.metrics(learned.scores))
        run.text(market_scores.markdown(learned.scores), "scores.md")
        run.text(learned.slices.markdown(), "slices.md")
        _explain(run, learned.ensembles, table)
    return {MODEL: Trained(learned, params, data.sha256, run.id)}


def load(options: TrainOptions, console: Console) -> tuple[History, manifest.Manifest]:
    """Read or synthesise the history, report faults, and hash what was used."""
    if options.data == SYNTHETIC:
        history = generate(options.synthesis)
        return history, manifest.of_arrays(history.arrays(), "market-synthetic")
    path = Path(options.data)
    history, faults = market_recorded.read(path, options.on_bad)
    if faults:
        console.print(quality.report(faults), highlight=False)
    return history, manifest.of_files(market_recorded.files(path), path)


def _searched(
    options: TrainOptions, table: Table, folds: list[Any], run: tracking.Run, console: Console
) -> AlertEnsembles:
    """Return the ensembles to fit: those asked for, or the best of a few trials around them."""
    start = options.ensembles
    if options.trials < 2:
        return AlertEnsembles(**{**start.get_params(), "seed": options.seed})

    def build(trial: Any) -> AlertEnsembles:
        return AlertEnsembles(
            trees=start.trees,
            rounds=start.rounds,
            forest_leaf=trial.suggest_int("forest_leaf", 5, 60, log=True),
            forest_rows=trial.suggest_float("forest_rows", 0.05, 0.5),
            forest_features=trial.suggest_float("forest_features", 0.2, 1.0),
            boosting_leaves=trial.suggest_int("boosting_leaves", 2, 8),
            boosting_leaf=trial.suggest_float("boosting_leaf", 0.005, 0.1, log=True),
            boosting_features=trial.suggest_float("boosting_features", 0.2, 1.0),
            seed=options.seed,
        )

    first = {name: value for name, value in start.get_params().items() if name not in ("trees", "rounds", "seed")}
    found = search(
        [Candidate("forest 60 + boosting 40", build, first)],
        table.features,
        table.outcomes.happened,
        folds,
        mean_auc,
        trials=options.trials,
        budget_s=options.budget_s,
        run=run,
        console=console,
        seed=options.seed,
    )
    console.print(found.markdown(), highlight=False, markup=False)
    run.text(found.markdown(), "search.md")
    best: AlertEnsembles = found.estimator
    return best


def _explain(run: tracking.Run, ensembles: AlertEnsembles, table: Table) -> None:
    """Log what the forests of the 24 h questions go by; a forest explains itself more cheaply than the whole vote."""
    rows = table.features[:: max(1, len(table.features) // EXPLAINED_ROWS)]
    # shap has no notion of what is missing
    rows = np.where(np.isnan(rows), np.nan_to_num(usual(table.features)), rows)
    for question, (_, horizon) in enumerate(QUESTIONS):
        if horizon == 24:
            features_report.explain(run, ensembles.forests_[question], rows, NAMES, LABELS[question].lower())


def _params(options: TrainOptions, history: History, table: Table) -> dict[str, str | int | float]:
    params: dict[str, str | int | float] = {
        "data": Path(options.data).name,
        "assets": len(history.assets),
        "hours": len(history),
        "rows": len(table.times),
        "stride": options.stride,
        "folds": options.folds,
        "trials": options.trials,
    }
    return params | {f"ensembles.{name}": value for name, value in options.ensembles.get_params().items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the market's options to a command line."""
    options = TrainOptions()
    add_shared(parser, "the folder of a recorded market")
    add_search(parser, options.trials, options.budget_s)
    parser.add_argument(
        "--hours", type=int, default=options.synthesis.hours, help="synthetic hours (default: %(default)s)"
    )
    parser.add_argument(
        "--stride", type=int, default=options.stride, help="learn from one in so many hours (default: %(default)s)"
    )
    parser.add_argument("--folds", type=int, default=options.folds, help="of the evaluation (default: %(default)s)")


def from_arguments(arguments: argparse.Namespace, home: Path) -> TrainOptions:
    """Return the options that a command line means."""
    return TrainOptions(
        data=arguments.data,
        home=home,
        synthesis=Synthesis(hours=arguments.hours, seed=arguments.seed),
        stride=arguments.stride,
        folds=arguments.folds,
        trials=arguments.trials,
        budget_s=arguments.budget_s,
        on_bad=arguments.on_bad,
        seed=arguments.seed,
    )
