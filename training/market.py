"""The market's recipe: from hourly prices to sixteen calibrated ensembles and everything their archive has to prove.

options ─ load ─> history ─> features, outcomes ─ rolling-origin folds, purged ─> answers out of fold ─┬─> scores
                                      └──────────────── fit on everything ───> ensembles ─ calibrate ─┴─> Trained
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.market.alerts import ALERTS, LABELS, QUESTIONS
from models.market.features import NAMES
from training import features_report, market_scores, progress, tracking
from training.data import manifest, market_recorded, quality, splits
from training.data.market_history import History
from training.data.market_synthetic import Synthesis, generate
from training.forest_graphs import Calibration
from training.market_fit import (
    AlertEnsembles,
    best_thresholds,
    calibrated,
    mean_auc,
    out_of_fold,
)
from training.market_table import Features, Floats, Table, expected_peaks, tabulate
from training.provenance import git_commit
from training.search import Candidate, search

SYNTHETIC = "synthetic"
MODEL = "market_alerts"
MOST_REFERENCES = 512
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
    synthesis: Synthesis = field(default_factory=lambda: Synthesis(hours=9_000))
    ensembles: AlertEnsembles = field(default_factory=AlertEnsembles)
    stride: int = 4
    folds: int = 4
    trials: int = 1
    budget_s: float = 300.0
    on_bad: quality.OnBad = "skip"
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """Trained ensembles with what their certificate and provenance are made of.

    Attributes
    ----------
    ensembles, calibration
        What answers.
    thresholds
        float64 [16]: from which probability on an alert is given.
    peaks
        float64 [16, 2]: the mean largest reading of an event is the first plus the second times the reading now.
    reference, probabilities, happened
        At most 512 hours: features float32 [N, 18], calibrated answers of ensembles that had not seen them float64
        [N, 16], and what happened bool [N, 16].
    window
        The history's last week, with its assets and time: an example.
    scores, metrics, params
        Of the run; scores are out of fold.
    data_manifest_sha256, mlflow_run_id
        Which data and which run.
    """

    ensembles: AlertEnsembles
    calibration: Calibration
    thresholds: Floats
    peaks: Floats
    reference: Features
    probabilities: Floats
    happened: npt.NDArray[np.bool_]
    window: History
    scores: tuple[market_scores.Score, ...]
    metrics: dict[str, float]
    params: dict[str, str | int | float]
    data_manifest_sha256: str
    mlflow_run_id: str

    def answers(self, features: Features) -> tuple[Floats, Floats]:
        """Return calibrated probabilities and how far apart the two kinds of ensembles are, each [N, 16]."""
        forests, boosted = self.ensembles.votes(features)
        return self.calibration(self.ensembles.predict_proba(features)), np.abs(forests - boosted)


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
    folds = splits.by_time(table.times, options.folds, market_scores.EMBARGO)
    params = _params(options, history, table)
    tags = {"git_commit": git_commit(), "data_manifest_sha256": data.sha256}
    with tracking.run("market", options.home, params, tags) as run:
        run.text(data.to_json(), "data/manifest.json")
        run.text(data.dvc_file(), f"data/{data.name}.dvc")
        ensembles = _searched(options, table, folds, run, console)
        happened = table.outcomes.happened
        with progress.counted(console, "fitting", (options.folds + 1) * len(ALERTS)) as shown:
            answers = out_of_fold(ensembles, table.features, happened, folds, shown)
            ensembles.fit(table.features, happened, shown)
        walked = market_scores.walk_forward(answers, happened, table.times)
        found = market_scores.scores(walked, table.outcomes)
        figures = market_scores.metrics(found)
        console.print(market_scores.markdown(found), highlight=False, markup=False)
        run.metrics(figures)
        run.text(market_scores.markdown(found), "scores.md")
        run.text(market_scores.slices(walked, table).markdown(), "slices.md")
        _explain(run, ensembles, table)
    calibration = calibrated(answers.probabilities, happened[answers.rows])
    probabilities = calibration(answers.probabilities)
    some = np.sort(np.random.default_rng(options.seed).permutation(len(answers.rows))[:MOST_REFERENCES])
    trained = Trained(
        ensembles=ensembles,
        calibration=calibration,
        thresholds=best_thresholds(probabilities, happened[answers.rows]),
        peaks=expected_peaks(table.outcomes),
        reference=table.features[answers.rows[some]],
        probabilities=probabilities[some],
        happened=happened[answers.rows[some]],
        window=_last_week(history),
        scores=tuple(found),
        metrics=figures,
        params=params,
        data_manifest_sha256=data.sha256,
        mlflow_run_id=run.id,
    )
    return {MODEL: trained}


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
    rows = np.nan_to_num(rows)  # shap has no notion of what is missing; what was never known is split by nowhere
    for question, (_, horizon) in enumerate(QUESTIONS):
        if horizon == 24:
            features_report.explain(run, ensembles.forests_[question], rows, NAMES, LABELS[question].lower())


def _last_week(history: History) -> History:
    end = int(history.hours()[-1]) + 1
    return replace(
        history,
        times=history.times[end - 168 : end],
        prices=history.prices[end - 168 : end],
        context=history.context[end - 168 : end],
    )


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
    parser.add_argument(
        "--data", default=SYNTHETIC, metavar="PATH", help='"synthetic" (default), or the folder of a recorded market'
    )
    parser.add_argument(
        "--hours", type=int, default=options.synthesis.hours, help="synthetic hours (default: %(default)s)"
    )
    parser.add_argument(
        "--stride", type=int, default=options.stride, help="learn from one in so many hours (default: %(default)s)"
    )
    parser.add_argument("--folds", type=int, default=options.folds, help="of the evaluation (default: %(default)s)")
    parser.add_argument(
        "--trials", type=int, default=options.trials, help="settings to compare (default: %(default)s, no search)"
    )
    parser.add_argument(
        "--budget-s", type=float, default=options.budget_s, help="no trial begins later (default: %(default)s)"
    )
    parser.add_argument(
        "--on-bad", choices=("skip", "refuse"), default="skip", help="what to do about bad data (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all chance (default: %(default)s)")


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
