"""The recipe of `budget_categorizer`: from transactions to a certified model, beside the rules it answers with.

::

    options ─ load ─> transactions ─ split by user ─┬─> kept ─ choose settings, fit, evaluate on test ─┬─> Trained
                                                    └─> all ─ fit ─────────────────────────────────────┘

Transactions without a category are used as well: `training.budget.categorizer.weak_supervision` gives them weak labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.budget.hybrid import Decisions, decide
from models.budget.labels import CARD, DEBIT, OTHER, find_nameless
from models.budget.merchants import Profile
from models.budget.rules import RuleSet
from models.known_words import KnownWords
from training import family, tracking
from training.budget.categorizer import rules as budget_rules
from training.budget.categorizer.dataset import divide, load
from training.budget.categorizer.estimators import LinearBag, StackedTrees
from training.budget.categorizer.explain import explain
from training.budget.categorizer.fit import (
    CANDIDATES,
    Examples,
    Model,
    Settings,
    choose,
    choose_sureness,
    fit,
    logits_of,
)
from training.budget.categorizer.merchant_profiles import profiles
from training.budget.categorizer.metrics import by_rules, hybrid_metrics, sliced, summary, unseen_metrics
from training.budget.categorizer.rules_report import SURE, measure
from training.budget.categorizer.sureness import Sureness
from training.budget.categorizer.vectorizer import Transactions, Vectorizer
from training.budget.synthetic import accounts
from training.calibration import VectorScaling
from training.evaluation import classification
from training.evaluation import plots as pictures

if TYPE_CHECKING:
    import pandas as pd

MODEL: Final = "budget_categorizer"
MODES: Final = ("hybrid", "rules")
MOST_UNSEEN: Final = 4096
"""Held-out transactions that are kept for the certificate and the reference."""


@dataclass(frozen=True, kw_only=True)
class Options(family.DataOptions, family.SearchOptions):
    """One training run.

    Attributes
    ----------
    data
        "synthetic", or the path of a table or a folder of them, as `training.budget.user_tables` reads it, or of cards
        as `training.budget.recorded` does.
    synthesis
        What to synthesise.
    rules
        The rules' file.
    mode
        "hybrid", or "rules" to answer by rules alone: the other arm of an A/B test.
    estimators
        Which of `training.budget.categorizer.fit.CANDIDATES` are compared, by name.
    trials
        Of the search, at least one per kind of estimator. A quick run has none.
    budget_s
        No trial starts after that many seconds.
    precision
        Share of the model's sure answers that are to be right at merchants and of users not met in training; sets the
        threshold from which on it is sure (`training.budget.categorizer.sureness`).
    """

    synthesis: accounts.Synthesis = field(default_factory=lambda: accounts.Synthesis(60, 12))
    rules: Path = budget_rules.FILE
    mode: str = "hybrid"
    estimators: tuple[str, ...] = tuple(candidate.name for candidate in CANDIDATES)
    trials: int = 3
    budget_s: float = 600.0
    precision: float = 0.8


@dataclass(frozen=True)
class Trained(family.Trained):
    """A trained categorizer with what its certificate and provenance are made of.

    Attributes
    ----------
    estimator, calibration, vectorizer
        Make the probabilities of transactions.
    labels
        The categories, sorted.
    rules, profiles, thresholds, mode
        What the handler answers with, beside.
    unseen, unseen_labels, unseen_frame
        Transactions of users that the evaluated fit has not seen, their categories int64 [N], and the same as a table.
    unseen_probabilities
        What the evaluated fit thinks of them, float64 [N, categories].
    words
        Those of the labels that the evaluated fit has seen.
    sureness
        What the model's threshold was chosen by.
    """

    estimator: LinearBag | StackedTrees
    calibration: VectorScaling
    vectorizer: Vectorizer
    labels: tuple[str, ...]
    rules: RuleSet
    profiles: tuple[Profile, ...]
    thresholds: dict[str, float]
    mode: str
    unseen: Transactions
    unseen_labels: npt.NDArray[np.int64]
    unseen_frame: pd.DataFrame
    unseen_probabilities: npt.NDArray[np.float64]
    words: KnownWords
    sureness: Sureness

    def probabilities(self, bank: Transactions) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities of every category, [N, categories]."""
        return self.calibration(logits_of(self.estimator, self.vectorizer.rows(bank), len(self.labels)))

    def decide(self, bank: Transactions, probabilities: npt.NDArray[np.float64] | None = None) -> Decisions:
        """Return what is answered, by rules and model together; `probabilities` [N, categories] if not its own."""
        said, trusted = by_rules(self.rules, bank, self.labels)
        thought = self.probabilities(bank) if probabilities is None else probabilities
        return _decide(bank, said, trusted, thought, self.thresholds)


def train(options: Options, console: Console | None = None) -> Trained:
    """Train the categorizer, evaluate it on unseen users, and record the run in MLflow.

    Raises
    ------
    training.data.quality.BadDataError
        If recorded data is bad.
    training.budget.categorizer.rules.RulesError
        If the rules are.
    """
    console = console or Console(quiet=True)
    read = budget_rules.read(options.rules)
    frame, rules, data = load(options.data, options.synthesis, read, options.on_bad, options.style, console)
    labels = tuple(sorted(set(frame["category"])))
    examples = Examples.of(frame, rules, labels)
    bank, target = examples.bank, examples.target
    kept, test = divide(frame, options.seed)
    params: dict[str, str | int | float] = {
        "data": Path(options.data).name, "rules": len(rules.rules), "mode": options.mode, "trials": options.trials,
        "seed": options.seed, "rows_kept": len(kept), "rows_test": len(test), "precision_promised": options.precision,
    }  # fmt: skip
    with tracking.run("budget", options.home, params, data, MODEL) as run:
        known = examples.select(kept)
        settings = choose(
            known, options.estimators, trials=0 if options.quick else options.trials, budget_s=options.budget_s,
            seed=options.seed, run=run, console=console,
        )  # fmt: skip
        found: dict[str, str | int | float] = {
            "estimator": type(settings.estimator).__name__,
            "half_life_months": settings.half_life,
        }
        params |= found
        run.params(found)
        model, sureness = _fit(known, settings, options)
        console.print(str(sureness), highlight=False)
        said, trusted = by_rules(rules, bank, labels)
        unseen, probabilities = bank.select(test), model.probabilities(bank.select(test))
        report = classification.evaluate(probabilities, target[test], labels)
        decided = _decide(unseen, said[test], trusted[test], probabilities, _thresholds(sureness))
        seen = np.isin(examples.merchants[test], known.merchants)
        metrics = {f"model_{name}": value for name, value in report.metrics.items() if name != "calibration_error"}
        metrics["calibration_error"] = report.calibration_error
        metrics |= hybrid_metrics(decided, said[test], target[test])
        metrics |= unseen_metrics(decided, target[test], ~seen)
        metrics |= {"sure_precision_shown": sureness.low, "sure_coverage_held_out": sureness.coverage}
        console.print(summary(metrics), highlight=False)
        run.metrics(metrics)
        run.text(f"{sureness}\n", "sureness.md")
        run.text(measure(rules, frame.iloc[test]).markdown(), "rules.md")
        compared_groups = sliced(decided, unseen, frame.iloc[test], labels)
        run.text(compared_groups.markdown(), "slices.md")
        run.figure(pictures.confusion_matrix(report, labels), "confusion_matrix")
        run.figure(pictures.reliability_diagram({"first choice": report.reliability}), "reliability")
        if isinstance(model.estimator, LinearBag):
            explain(run, model.estimator, model.calibration, model.vectorizer, unseen, labels)
    on = f"{len(test):,} transactions of users (or times, where users are few) that the evaluated fit has not seen"
    fits = family.Fits(evaluated=on, shipped="the evaluated fit itself", refitted=False)
    learned = np.isin(np.arange(len(bank)), kept)
    if not options.quick:
        model, sureness = _fit(examples, settings, options)
        aged = f"counting half after {settings.half_life} months" if settings.half_life else "old and new alike"
        whole = f"all {len(bank):,} transactions, {aged}"
        fits = family.Fits(evaluated=on, shipped=f"{whole}; calibration and sureness by answers out of folds")
        learned[:] = True
    some = np.random.default_rng(options.seed).permutation(len(test))[:MOST_UNSEEN]
    chosen = test[some]
    payable = np.isin(bank.parsed.operations, (CARD, DEBIT, OTHER)) & learned
    texts = [text for text, ours in zip(bank.parsed.texts, payable.tolist(), strict=True) if ours]
    return Trained(
        estimator=model.estimator,
        calibration=model.calibration,
        vectorizer=model.vectorizer,
        labels=labels,
        rules=rules,
        profiles=profiles(frame[payable], texts),
        thresholds=_thresholds(sureness),
        mode=options.mode,
        unseen=bank.select(chosen),
        unseen_labels=target[chosen],
        unseen_frame=frame.iloc[chosen],
        unseen_probabilities=probabilities[some],
        words=KnownWords.fit(bank.select(kept).parsed.texts),
        sureness=sureness,
        metrics=metrics,
        params=params,
        data_manifest_sha256=data.sha256,
        mlflow_run_id=run.id,
        fits=fits,
        quick=options.quick,
        slices=compared_groups,
    )


def _fit(examples: Examples, settings: Settings, options: Options) -> tuple[Model, Sureness]:
    model = fit(examples, settings, options.seed)
    return model, choose_sureness(model.calibration, examples, settings, options.precision, options.seed)


def _thresholds(sureness: Sureness) -> dict[str, float]:
    return {"rule": SURE, "model": sureness.threshold}


def _decide(
    bank: Transactions,
    said: npt.NDArray[np.int64],
    trusted: npt.NDArray[np.float64],
    probabilities: npt.NDArray[np.float64],
    thresholds: Mapping[str, float],
) -> Decisions:
    nameless = find_nameless(bank.parsed.texts)
    return decide(said, trusted, probabilities, nameless, thresholds["rule"], thresholds["model"])
