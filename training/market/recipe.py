"""The market's recipe: from hourly prices to sixteen calibrated ensembles and everything their archive has to prove.

options ─ load ─> history ─ tabulate ─> features, outcomes ─ search ─> settings ─ learn ─> Trained
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from marina.rollout.promotion import Rule
from models.market.alerts import ALERTS, HORIZONS_H, LABELS, QUESTIONS
from models.market.features import NAMES, usual
from training import family, progress, tracking
from training.cli import add_search, add_shared, shared_options
from training.data import manifest, splits
from training.data.loading import load_recorded
from training.data.manifest import SYNTHETIC
from training.data.reading.reader import TableReader
from training.data.reading.style import add_style
from training.evaluation import plots as pictures
from training.evaluation import shap_report
from training.market import metrics as market_scores
from training.market import onsets
from training.market import recorded as market_recorded
from training.market.ensembles import LEAST_ROWS, AlertEnsembles, mean_auc
from training.market.fit import Learned, learn
from training.market.history import History
from training.market.rows import Table, tabulate
from training.market.synthetic import Synthesis, generate
from training.search import Candidate, search

MODEL = "market_alerts"
MODELS = (MODEL,)
RULES = {MODEL: Rule("auc", 0.6)}
TAGS = {MODEL: {"alert_type": ",".join(ALERTS), "horizon": ",".join(f"{hours}h" for hours in HORIZONS_H)}}
EXPLAINED_ROWS = 150


@dataclass(frozen=True, kw_only=True)
class TrainOptions(family.DataOptions, family.SearchOptions):
    """One training run.

    Attributes
    ----------
    data
        "synthetic", or the folder of a recorded market.
    synthesis
        What to synthesise, where `data` says so.
    ensembles
        What to fit; where trials are asked for, where their search begins.
    stride
        Learn from every Nth hour.
    folds
        Of the evaluation; at least two.
    trials, budget_s
        How many settings of the ensembles to compare, and for how long at most; one trial compares none.
    """

    synthesis: Synthesis = field(default_factory=lambda: Synthesis(hours=8_000))
    ensembles: AlertEnsembles = field(default_factory=AlertEnsembles)
    stride: int = 4
    folds: int = 4


@dataclass(frozen=True)
class Trained(family.Trained):
    """What was learned, and where from.

    Attributes
    ----------
    learned
        Ensembles, calibration, thresholds, and what their certificate is made of.
    """

    learned: Learned


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
    if described := history.left_out(options.stride):
        console.print(described, highlight=False)
    table = tabulate(history, options.stride)
    if len(table.times) < LEAST_ROWS:
        raise ValueError(
            f"expected at least {LEAST_ROWS} hours to learn from, got {len(table.times)}: give a longer history, or "
            "take more of its hours (--stride)"
        )
    folds = splits.by_time(table.times, options.folds, market_scores.EMBARGO)
    params = _params(options, history, table)
    with tracking.run("market", options.home, params, data) as run:
        ensembles = _search(options, table, folds, run, console)
        with progress.counted(console, "fitting", (options.folds + 1) * len(ALERTS)) as shown:
            learned = learn(history, table, ensembles, folds, options.seed, shown)
        console.print(market_scores.markdown(learned.scores), highlight=False, markup=False)
        console.print(onsets.markdown(learned.onsets, learned.rates), highlight=False, markup=False)
        metrics = market_scores.metrics(learned.scores) | onsets.metrics(learned.onsets, learned.rates)
        run.metrics(metrics)
        run.text(market_scores.markdown(learned.scores), "scores.md")
        run.text(onsets.markdown(learned.onsets, learned.rates), "onsets.md")
        run.text(learned.slices.markdown(), "slices.md")
        run.figure(pictures.reliability_diagram(learned.reliability), "reliability")
        _explain(run, learned.ensembles, table)
    trained = Trained(
        learned,
        metrics=metrics,
        params=params,
        data_manifest_sha256=data.sha256,
        mlflow_run_id=run.id,
        fits=family.Fits(
            evaluated=f"answers out of {options.folds} folds forward in time, each to hours after those fitted to",
            shipped=f"all {len(table.times):,} hours; calibration and thresholds by the answers out of folds",
        ),
        quick=options.quick,
        slices=learned.slices,
    )
    return {MODEL: trained}


def load(options: TrainOptions, console: Console) -> tuple[History, manifest.Manifest]:
    """Read or synthesise the history, report faults, and hash what was used."""
    if options.data == SYNTHETIC:
        history = generate(options.synthesis)
        return history, manifest.of_arrays(history.arrays(), "market-synthetic")
    reader = TableReader(options.style)
    read = partial(market_recorded.read, on_bad=options.on_bad, reader=reader)
    return load_recorded(Path(options.data), read, market_recorded.files, console, reader)


def _search(
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
            shap_report.explain(run, ensembles.forests_[question], rows, NAMES, LABELS[question].lower())


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
    add_shared(parser, "a table of hourly candles, or the folder of a recorded market")
    add_style(parser)
    add_search(parser, options.trials, options.budget_s)
    parser.add_argument(
        "--hours", type=int, default=options.synthesis.hours, help="synthetic hours (default: %(default)s)"
    )
    parser.add_argument(
        "--stride", type=int, default=options.stride, help="learn from every Nth hour (default: %(default)s)"
    )
    parser.add_argument("--folds", type=int, default=options.folds, help="of the evaluation (default: %(default)s)")


def from_arguments(arguments: argparse.Namespace, home: Path) -> TrainOptions:
    """Return the options that a command line means."""
    return TrainOptions(
        **shared_options(arguments, home),
        synthesis=Synthesis(hours=arguments.hours, seed=arguments.seed),
        stride=arguments.stride,
        folds=2 if arguments.quick else arguments.folds,
    )
