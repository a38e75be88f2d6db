"""Code health's recipes beside plain baselines on recorded data, on later rows and on projects that neither has seen.

The recorded sets do not have the 35 features. What is tested is the recipe: the estimators, their search, and the vote
of them, trained on each set's own columns.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.quality.measures import rmse
from training.calibration import sigmoid
from training.code_health import feature_views
from training.code_health import recorded as code_health_recorded
from training.code_health.estimators import CANDIDATES, Answers, Rows, anomaly, bugs, plain, risk
from training.code_health.feature_views import Split, folds, inner
from training.code_health.fit import area, minus_rmse
from training.code_health.metrics import auc
from training.code_health.recorded_sets import READERS, RecordedSet
from training.code_health.voting import Member, weight_votes
from training.data import quality
from training.data.splits import Indices
from training.search import Candidate, search

PLAIN: Final = ("logistic", "forest")
OURS: Final = ("risk", "bugs", "anomaly", "meta")

SPLITS: Final[tuple[Split, ...]] = ("time", "project")

MOST_COMPARED: Final = 6_000
"""Rows by which hyper-parameters are compared and votes weighed; what is tested is fitted to all."""


@dataclass(frozen=True)
class Fold:
    """One fold: rows tested, and each model's AUC on all of them and within projects."""

    tested: int
    pooled: dict[str, float]
    within: dict[str, float]


@dataclass(frozen=True)
class Result:
    """A set's folds by one kind of split."""

    name: str
    split: Split
    rows: int
    projects: int
    rate: float
    folds: tuple[Fold, ...]

    def mean(self, model: str) -> float:
        """Return the mean AUC: of all rows tested where split by time, within projects where split by project."""
        return float(np.mean([self._of(fold)[model] for fold in self.folds]))

    def range(self, model: str) -> tuple[float, float]:
        """Return the worst and the best fold's AUC."""
        found = [self._of(fold)[model] for fold in self.folds]
        return min(found), max(found)

    def _of(self, fold: Fold) -> dict[str, float]:
        return fold.pooled if self.split == "time" else fold.within


def cross_validate(one: RecordedSet, split: Split, count: int, trials: int, console: Console) -> Result:
    """Train and test the recipes and the baselines on each fold.

    Parameters
    ----------
    one
        A recorded set.
    split
        By time, or by project.
    count
        Folds by project.
    trials
        Of the search in each fold, on its training rows.
    console
        Where each fold's result is shown.
    """
    seen = list(feature_views.views(one, split).values())
    own = np.stack(list(one.columns.values()), axis=1)
    done = []
    for number, (train, test) in enumerate(folds(one, split, count)):
        answers = _plain(own, one.target, train, test) | _ours(one, seen, train, test, split, trials)
        truth, projects = one.target[test], one.projects[test]
        pooled = {model: auc(truth, answer) for model, answer in answers.items()}
        within = {model: _within(truth, answer, projects) for model, answer in answers.items()}
        done.append(Fold(len(test), pooled, within))
        shown = ", ".join(f"{model} {value:.3f}" for model, value in (pooled if split == "time" else within).items())
        console.print(f"{one.name} by {split}, fold {number + 1}: {len(test)} rows: {shown}", highlight=False)
    return Result(one.name, split, len(one), len(np.unique(one.projects)), float(one.target.mean()), tuple(done))


def _within(truth: npt.NDArray[Any], answers: Answers, projects: npt.NDArray[np.str_]) -> float:
    """Return the mean AUC over the projects that have both outcomes."""
    mine = [(truth[projects == name], answers[projects == name]) for name in np.unique(projects)]
    return float(np.mean([auc(*one) for one in mine if len(np.unique(one[0])) == 2]))


def _plain(own: Rows, target: npt.NDArray[Any], train: Indices, test: Indices) -> dict[str, Answers]:
    """Return what a few lines of scikit-learn answer."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(100, min_samples_leaf=5, random_state=0, n_jobs=1)
    return {
        "logistic": plain().fit(own[train], target[train]).predict_proba(own[test])[:, 1],
        "forest": forest.fit(own[train], target[train]).predict_proba(own[test])[:, 1],
    }


def _ours(
    one: RecordedSet, seen: Sequence[Rows], train: Indices, test: Indices, split: Split, trials: int
) -> dict[str, Answers]:
    """Search, and learn the vote's weights, within the training rows; fit to all of them, and answer."""
    target = one.target
    pairs = [(_some(early, MOST_COMPARED), _some(late, MOST_COMPARED)) for early, late in inner(one, train, split)]
    found = {
        model: search(candidates, seen[-1], target, pairs, area, trials=trials).estimator
        for model, candidates in RECIPES.items()
    }

    def answers(fitting: Indices, asked: Indices) -> Answers:
        by_view = []
        for rows in seen:
            fitted = {model: estimator.fit(rows[fitting], target[fitting]) for model, estimator in found.items()}
            fitted["code_anomaly"] = anomaly().fit(rows[fitting])
            by_view.append(
                np.stack([Member(model, estimator).answer(rows[asked]) for model, estimator in fitted.items()], axis=1)
            )
        return np.asarray(np.mean(by_view, axis=0), np.float64)

    chosen = np.concatenate([late for _, late in pairs])
    slope, intercept, weights = weight_votes(
        np.concatenate([answers(*pair) for pair in pairs]), target[chosen].astype(np.float64)
    )
    final = answers(train, test)
    meta = sigmoid(final * slope + intercept) @ weights
    return dict(zip(OURS, [*final.T, meta], strict=True))


def _some(rows: Indices, most: int) -> Indices:
    return np.sort(np.random.default_rng(0).permutation(rows)[:most]) if len(rows) > most else rows


RECIPES: Final = {
    "code_risk": (
        *CANDIDATES["code_risk"],
        Candidate(
            "larger forest and boosting",
            partial(risk, larger=True),
            {
                "rounds": 240, "depth": 5, "rate": 0.06, "child_weight": 5.0, "columns": 0.5, "forest_share": 0.3,
                "trees": 100, "leaves": 400, "leaf": 5, "forest_columns": 0.3,
            },
        ),
    ),
    "code_bugs": (
        CANDIDATES["code_bugs"][0],
        Candidate(
            "larger histogram boosting",
            partial(bugs, larger=True),
            {"rounds": 250, "rate": 0.06, "leaves": 24, "leaf": 20, "l2": 1.0, "columns": 0.5},
        ),
    ),
}  # fmt: skip
"""What is compared per model: most recorded sets are larger than what is generated, and bear larger estimators."""


def impact(one: RecordedSet, split: Split, count: int) -> list[tuple[float, float, float]]:
    """Compare the network of `code_impact` with a linear regression and with the mean, by root mean square error.

    Returns
    -------
    list of (network, linear, mean)
        Per fold, of the amount on its scale from 0 to 1.
    """
    import optuna

    assert one.amount is not None
    [candidate] = CANDIDATES["code_impact"]
    rows, amount = feature_views.views(one, split)["compared"], one.amount
    done = []
    for train, test in folds(one, split, count):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Stochastic Optimizer")
            network = candidate.build(optuna.trial.FixedTrial(dict(candidate.defaults))).fit(rows[train], amount[train])
        linear = plain(value=True).fit(rows[train], amount[train])
        usual = np.full(len(test), float(amount[train].mean()))
        done.append(
            (
                -minus_rmse(network, rows[test], amount[test]),
                -minus_rmse(linear, rows[test], amount[test]),
                rmse(amount[test], usual),
            )
        )
    return done


def markdown(results: Sequence[Result]) -> str:
    """Return a table of results in Markdown: mean AUC over folds, and the range of the vote's."""
    lines = [
        "| set | split | rows | projects | yes "
        "| logistic | forest | risk | bugs | anomaly | meta (worst to best fold) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        cells = " | ".join(f"{one.mean(model):.3f}" for model in (*PLAIN, "risk", "bugs", "anomaly"))
        low, high = one.range("meta")
        lines.append(
            f"| {one.name} | {one.split} | {one.rows} | {one.projects} | {one.rate:.2f} | {cells} "
            f"| **{one.mean('meta'):.3f}** ({low:.3f} to {high:.3f}) |"
        )
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the evaluation's options to a command line."""
    parser.add_argument(
        "--sets", nargs="+", choices=tuple(READERS), metavar="NAME", help="of these files only, such as jit_commits"
    )
    parser.add_argument("--folds", type=int, default=4, help="folds of whole projects (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=4, help="of each fold's search (default: %(default)s)")


def evaluate(arguments: argparse.Namespace, console: Console) -> None:
    """Print the tables of the family's page.

    Raises
    ------
    FileNotFoundError
        If there is no recorded set at the path.
    training.data.quality.BadDataError
        If a set has nothing sound in it.
    """
    results, impacts = [], []
    for file in code_health_recorded.files(arguments.data):
        if arguments.sets and file.name.removesuffix(code_health_recorded.ENDING) not in arguments.sets:
            continue
        sets, faults = code_health_recorded.read(file)
        if faults:
            console.print(quality.report(faults), highlight=False)
        for one, split in itertools.product(sets, SPLITS):
            if split == "time" and np.isnan(one.order).any():
                continue
            results.append(cross_validate(one, split, arguments.folds, arguments.trials, console))
            if one.amount is not None:
                network, linear, mean = np.mean(impact(one, split, arguments.folds), axis=0)
                impacts.append(f"| {one.name} | {split} | **{network:.3f}** | {linear:.3f} | {mean:.3f} |")
    console.print(markdown(results), highlight=False, markup=False)
    if impacts:
        head = ["", "| set | split | network | linear | mean |", "|---|---|---|---|---|"]
        console.print("\n".join([*head, *impacts]), highlight=False, markup=False)
