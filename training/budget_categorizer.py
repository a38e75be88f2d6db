"""The recipe of `budget_categorizer`: from transactions to a certified model, beside the rules it answers with.

::

    options ─ load ─> transactions ─ split by user ─> fitting, calibrating, test
    fitting ─ search: linear, forest, boosted ─> the best ─ calibrating ─> probabilities, threshold ─ test ─> Trained

Transactions without a category are used as well: `training.budget_weak` gives them weak labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.budget.hybrid import decide, threshold_for
from models.budget.labels import CARD, DEBIT, OTHER
from models.budget.merchants import Profile
from models.budget.rules import RuleSet
from training import budget_rules, evaluate, pictures, tracking
from training.budget_bags import Bagger, Bank, Rows
from training.budget_estimators import NEVER, LinearBag, StackedTrees
from training.budget_explained import explain
from training.budget_hybrid import by_rules, hybrid_metrics, sliced, summary
from training.budget_profiles import profiles
from training.budget_rules_report import SURE, measure
from training.calibration import Calibration
from training.data import budget_synthetic, manifest, quality, splits
from training.search import Candidate, Found, search

if TYPE_CHECKING:
    import pandas as pd

MODEL: Final = "budget_categorizer"
SYNTHETIC: Final = "synthetic"
MODES: Final = ("hybrid", "rules")
MOST_UNSEEN: Final = 4096
"""Held-out transactions that are kept for the certificate and the reference."""

SEARCHED: Final = 4000
"""Rows that candidates are compared on; the winner is then fitted on all."""

LEAST_GROUPS: Final = 4
LEAST: Final = 1e-6
"""Least probability of trees, for it has to have a logarithm."""


@dataclass(frozen=True)
class Options:
    """One training run.

    Attributes
    ----------
    data
        "synthetic", or the path of a ``.csv`` or ``.parquet`` file, as `training.data.budget_tables` reads it.
    home
        Folder of the local MLflow database.
    synthesis
        What to synthesise.
    rules
        The rules' file.
    mode
        "hybrid", or "rules" to answer by rules alone: the other arm of an A/B test.
    estimators
        Which of `CANDIDATES` are compared, by name.
    trials
        Of the search, at least one per kind of estimator.
    budget_s
        No trial begins after so many seconds.
    coverage
        Share of transactions that are to be answered for sure; sets the model's threshold.
    on_bad
        Whether bad recorded rows are skipped or refused.
    seed
        Of splits and search.
    """

    data: str = SYNTHETIC
    home: Path = Path(".marina")
    synthesis: budget_synthetic.Synthesis = field(default_factory=lambda: budget_synthetic.Synthesis(60, 12))
    rules: Path = budget_rules.FILE
    mode: str = "hybrid"
    estimators: tuple[str, ...] = ("linear", "random forest on linear", "boosted trees on linear")
    trials: int = 3
    budget_s: float = 600.0
    coverage: float = 0.92
    on_bad: quality.OnBad = "skip"
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """A trained categorizer with what its certificate and provenance are made of.

    Attributes
    ----------
    estimator, calibration, bagger
        Make the probabilities of transactions.
    labels
        The categories, sorted.
    rules, profiles, thresholds, mode
        What the handler answers with, beside.
    unseen, unseen_labels, unseen_frame
        Transactions of users never seen, their categories int64 [N], and the same as a table.
    metrics, params, data_manifest_sha256, mlflow_run_id
        Of the run; metrics are on users never seen in training.
    """

    estimator: LinearBag | StackedTrees
    calibration: Calibration
    bagger: Bagger
    labels: tuple[str, ...]
    rules: RuleSet
    profiles: tuple[Profile, ...]
    thresholds: dict[str, float]
    mode: str
    unseen: Bank
    unseen_labels: npt.NDArray[np.int64]
    unseen_frame: pd.DataFrame
    metrics: dict[str, float]
    params: dict[str, str | int | float]
    data_manifest_sha256: str
    mlflow_run_id: str

    def probabilities(self, bank: Bank) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities of every category, [N, categories]."""
        return self.calibration(logits_of(self.estimator, self.bagger.rows(bank), len(self.labels)))


def train(options: Options, console: Console | None = None) -> Trained:
    """Train the categorizer, evaluate it on unseen users, and record the run in MLflow.

    Raises
    ------
    training.data.quality.BadDataError
        If recorded data is bad.
    training.budget_rules.RulesError
        If the rules are.
    """
    console = console or Console(quiet=True)
    frame, data = load(options, console)
    labels = tuple(sorted(set(frame["category"]) - {""}))
    rules = budget_rules.read(options.rules, labels)
    bank, target = Bank.of(frame), np.searchsorted(labels, frame["category"].to_numpy().astype(str))
    weight, tagged = frame["weight"].to_numpy(), frame["tagged"].to_numpy()
    kept, test = splits.holdout(groups(frame), 0.25, options.seed)
    fitting, calibrating = (kept[part] for part in splits.holdout(groups(frame)[kept], 0.15, options.seed))
    # What is only guessed may teach; it may not examine.
    test, calibrating = test[tagged[test]], calibrating[tagged[calibrating]]
    params: dict[str, str | int | float] = {
        "data": Path(options.data).name, "rules": len(rules.rules), "mode": options.mode, "trials": options.trials,
        "seed": options.seed, "rows_fitting": len(fitting), "rows_calibrating": len(calibrating),
        "rows_test": len(test),
    }  # fmt: skip
    with tracking.run("budget", options.home, params, data, MODEL) as run:
        bagger = Bagger.fit(bank.select(fitting))
        rows = bagger.rows(bank.select(fitting))
        found = compared(rows, target[fitting], options, run, console)
        run.text(found.markdown(), "estimators.md")
        console.print(found.markdown(), highlight=False)
        estimator = found.estimator.fit(rows, target[fitting], weight[fitting])
        held = bank.select(calibrating)
        logits = logits_of(estimator, bagger.rows(held), len(labels))
        calibration = Calibration.fit(logits, target[calibrating])
        said, trusted = by_rules(rules, held, labels)
        sure = threshold_for(options.coverage, trusted, calibration(logits).max(axis=1), SURE)
        thresholds = {"rule": SURE, "model": round(sure, 4)}
        unseen = bank.select(test)
        probabilities = calibration(logits_of(estimator, bagger.rows(unseen), len(labels)))
        report = evaluate.evaluate(probabilities, target[test], labels)
        said, trusted = by_rules(rules, unseen, labels)
        decided = decide(said, trusted, probabilities, thresholds["rule"], thresholds["model"])
        metrics = {f"model_{name}": value for name, value in report.metrics.items()}
        metrics |= hybrid_metrics(decided, said, target[test])
        console.print(summary(metrics), highlight=False)
        run.metrics(metrics)
        run.text(measure(rules, frame.iloc[test]).markdown(), "rules.md")
        run.text(sliced(decided, unseen, frame.iloc[test], labels).markdown(), "slices.md")
        run.figure(pictures.confusion_matrix(report, labels), "confusion_matrix")
        if isinstance(estimator, LinearBag):
            explain(run, estimator, calibration, bagger, unseen, labels)
    chosen = np.random.default_rng(options.seed).permutation(test)[:MOST_UNSEEN]
    payable = np.isin(bank.parsed.operations, (CARD, DEBIT, OTHER)) & np.isin(np.arange(len(bank)), kept)
    texts = [text for text, ours in zip(bank.parsed.texts, payable.tolist(), strict=True) if ours]
    return Trained(
        estimator=estimator,
        calibration=calibration,
        bagger=bagger,
        labels=labels,
        rules=rules,
        profiles=profiles(frame[payable], texts),
        thresholds=thresholds,
        mode=options.mode,
        unseen=bank.select(chosen),
        unseen_labels=target[chosen],
        unseen_frame=frame.iloc[chosen],
        metrics=metrics,
        params=params,
        data_manifest_sha256=data.sha256,
        mlflow_run_id=run.id,
    )


def load(options: Options, console: Console) -> tuple[pd.DataFrame, manifest.Manifest]:
    """Load or synthesise transactions, and hash what was used.

    All of them come with a category, a `weight` that says how much it is worth, and whether it was `tagged` by somebody
    rather than guessed.
    """
    if options.data == SYNTHETIC:
        frame = budget_synthetic.generate(options.synthesis)
        arrays = {name: frame[name].to_numpy() for name in ("amount",)}
        arrays |= {name: frame[name].to_numpy().astype(str) for name in ("user", "label", "category")}
        arrays["day"] = frame["date"].to_numpy().astype("datetime64[D]").astype(np.int64)
        return frame.assign(weight=1.0, tagged=True), manifest.of_arrays(arrays, SYNTHETIC)
    from training import budget_weak
    from training.data import budget_tables

    path = Path(options.data)
    frame, faults = budget_tables.read(path, options.on_bad)
    if faults:
        console.print(quality.report(faults), highlight=False)
    if (frame["category"] == "").any():
        extra = budget_synthetic.generate(options.synthesis)
        frame = budget_weak.completed(frame, budget_rules.read(options.rules), extra)
    else:
        frame = frame.assign(weight=1.0, tagged=True)
    return frame, manifest.of_files([path], path)


def groups(frame: pd.DataFrame) -> npt.NDArray[Any]:
    """Return what must not stand on both sides of a split: the user, or the month where there are few users."""
    users: npt.NDArray[Any] = frame["user"].to_numpy().astype(str)
    if len(np.unique(users)) >= LEAST_GROUPS:
        return users
    months: npt.NDArray[Any] = frame["date"].dt.strftime("%Y-%m").to_numpy().astype(str)
    return months


def compared(rows: Rows, target: npt.NDArray[np.int64], options: Options, run: tracking.Run, console: Console) -> Found:
    """Compare and search the kinds of estimator, on users neither has seen."""
    few = np.sort(np.random.default_rng(options.seed).permutation(len(rows))[:SEARCHED])
    sample, answers = rows[few], target[few]
    return search(
        [candidate for candidate in CANDIDATES if candidate.name in options.estimators],
        sample,
        answers,
        splits.folds(sample.users, 2, options.seed),
        lambda fitted, some, truth: float((fitted.predict(some) == truth).mean()),
        trials=options.trials,
        budget_s=options.budget_s,
        run=run,
        console=console,
        seed=options.seed,
    )


CANDIDATES: Final[Sequence[Candidate]] = (
    Candidate(
        "linear",
        lambda trial: LinearBag(
            trial.suggest_float("strength", 0.3, 30, log=True), trial.suggest_int("iterations", 20, 80)
        ),
        {"strength": 4.0, "iterations": 40},
    ),
    Candidate(
        "random forest on linear",
        lambda trial: StackedTrees("forest", trial.suggest_int("trees", 20, 200)),
        {"trees": 30},
    ),
    Candidate(
        "boosted trees on linear",
        lambda trial: StackedTrees("boosted", trial.suggest_int("trees", 10, 60), trial.suggest_int("depth", 2, 6)),
        {"trees": 10, "depth": 3},
    ),
)


def logits_of(estimator: LinearBag | StackedTrees, rows: Rows, count: int) -> npt.NDArray[np.float64]:
    """Return logits of all `count` labels, [N, count]; `NEVER` where the estimator has never seen one."""
    logits = np.full((len(rows), count), NEVER)
    if isinstance(estimator, LinearBag):
        logits[:, estimator.classes_] = estimator.decision_function(rows)
    else:
        logits[:, estimator.classes_] = np.log(np.maximum(estimator.predict_proba(rows), LEAST))
    return logits
