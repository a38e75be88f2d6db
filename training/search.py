"""Which estimator, with which hyper-parameters: compared by cross-validation, searched under a budget.

Every candidate first shows what it does with its defaults; the trials that are left go to the two best of them, in
turn, by the tree-structured Parzen estimator (Bergstra et al., 2011; optuna's). Each trial is a run in MLflow below the
training's own. With a number of trials and no lack of time, equal seeds choose equal estimators.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from training import progress
from training.data.splits import Indices
from training.tracking import Run

Score = Callable[[Any, Any, npt.NDArray[Any]], float]
"""A fitted estimator, features and target, to a number; higher is better."""


@dataclass(frozen=True)
class Candidate:
    """One kind of estimator.

    Attributes
    ----------
    name
        Such as "random forest".
    build
        Takes an optuna trial, which suggests hyper-parameters, and returns an estimator that is not fitted.
    defaults
        The hyper-parameters of its first trial, by the names under which `build` asks for them.
    """

    name: str
    build: Callable[[Any], Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """One estimator's cross-validation: its mean score, the folds' own, and what it took in seconds."""

    name: str
    params: dict[str, Any]
    score: float
    scores: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Found:
    """The winner, not fitted, and every trial, the best first."""

    estimator: Any
    best: Trial
    trials: tuple[Trial, ...]

    def markdown(self) -> str:
        """Return each candidate's best trial as a table."""
        lines = ["| estimator | score | folds | trials | s |", "|---|---|---|---|---|"]
        for name in dict.fromkeys(trial.name for trial in self.trials):
            mine = [trial for trial in self.trials if trial.name == name]
            best = mine[0]
            folds = f"{min(best.scores):.3f} to {max(best.scores):.3f}"
            lines.append(f"| {name} | {best.score:.3f} | {folds} | {len(mine)} | {best.seconds:.1f} |")
        return "\n".join(lines)


def search(
    candidates: Sequence[Candidate],
    features: Any,
    target: npt.NDArray[Any],
    folds: Sequence[tuple[Indices, Indices]],
    score: Score,
    *,
    trials: int,
    budget_s: float = 600.0,
    run: Run | None = None,
    console: Console | None = None,
    seed: int = 0,
) -> Found:
    """Compare candidates and search the best ones.

    Parameters
    ----------
    candidates
        What to compare.
    features
        [N, …], anything that an array of positions selects rows of.
    target
        [N] or [N, outputs].
    folds
        Pairs of positions to train on and to test on.
    score
        Higher is better; its mean over the folds decides.
    trials
        How many in all, at least one per candidate.
    budget_s
        No trial begins after this many seconds, but each candidate's first.
    run
        Where trials are logged.
    console
        Where progress is shown.
    seed
        Of the search.

    Raises
    ------
    ValueError
        If there are no candidates or no folds.
    """
    import optuna

    if not candidates or not folds:
        raise ValueError("expected at least one candidate and one fold to compare by")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies = {}
    for number, candidate in enumerate(candidates):
        sampler = optuna.samplers.TPESampler(seed=seed + number, n_startup_trials=5)
        studies[candidate.name] = optuna.create_study(direction="maximize", sampler=sampler)
        if candidate.defaults:
            studies[candidate.name].enqueue_trial(dict(candidate.defaults))
    by_name = {candidate.name: candidate for candidate in candidates}
    done: list[tuple[Trial, Any]] = []
    began = time.perf_counter()
    total = max(trials, len(candidates))
    with progress.counted(console or Console(quiet=True), "searching", total) as shown:
        for number in range(total):
            if number >= len(candidates) and time.perf_counter() - began > budget_s:
                break
            name = candidates[number].name if number < len(candidates) else _turn(done, number)
            asked = studies[name].ask()
            estimator = by_name[name].build(asked)
            trial = _validate(name, estimator, asked.params, features, target, folds, score)
            studies[name].tell(asked, trial.score)
            done.append((trial, estimator))
            if run is not None:
                logged = {"score": trial.score, "seconds": trial.seconds}
                run.child(f"{name} {number + 1}", {"estimator": name, **trial.params}, logged)
            best = max(done, key=lambda one: one[0].score)[0]
            shown(f"{name} {trial.score:.4f} · best {best.name} {best.score:.4f}")
    done.sort(key=lambda one: -one[0].score)
    return Found(done[0][1], done[0][0], tuple(trial for trial, _ in done))


def _turn(done: Sequence[tuple[Trial, Any]], number: int) -> str:
    """Return whose turn it is: the two best candidates alternate."""
    ranked = sorted(done, key=lambda one: -one[0].score)
    names = list(dict.fromkeys(trial.name for trial, _ in ranked))[:2]
    return names[number % len(names)]


def _validate(
    name: str,
    estimator: Any,
    params: dict[str, Any],
    features: Any,
    target: npt.NDArray[Any],
    folds: Sequence[tuple[Indices, Indices]],
    score: Score,
) -> Trial:
    from sklearn.base import clone

    began = time.perf_counter()
    scores = []
    for train, test in folds:
        fitted = clone(estimator).fit(features[train], target[train])
        scores.append(float(score(fitted, features[test], target[test])))
    return Trial(name, params, float(np.mean(scores)), tuple(scores), time.perf_counter() - began)
