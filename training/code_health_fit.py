"""Fits the models of code health: parts in order of time, search, calibration on later rows, thresholds.

Rows are cut at two dates. What came before the first is fitted to, what lies between chooses thresholds, calibration
and the weights of the vote, what came after the second is the test; before each cut rows are left out whose target
would look beyond it. Some projects are kept out of everything but the test.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.code_health.features import READS, columns
from training import code_estimators
from training.code_council import Council, Member, calibrated, council
from training.code_estimators import CANDIDATES, Answers, anomaly
from training.code_health_scores import auc, best_threshold, rmse
from training.data import splits
from training.data.code_health_rows import HORIZON_DAYS, Rows
from training.data.splits import Indices
from training.search import Found, search
from training.tracking import Run

MEMBERS: Final = ("code_risk", "code_anomaly", "code_bugs", "code_impact")
MODELS: Final = (*MEMBERS, "code_meta")

TARGET: Final = {
    "code_risk": "risk",
    "code_anomaly": "anomaly",
    "code_bugs": "bug",
    "code_impact": "impact",
    "code_meta": "risk",
}
"""What each model is asked."""

CUTS: Final = (0.55, 0.75)
"""Shares of the rows, in order of time, that came before the cuts."""

ASIDE: Final = 0.2
"""Share of the rows whose projects are only tested on, where there are five projects or more."""

MOST_SEARCHED: Final = 5_000
"""Rows that the search sees: enough to compare, few enough to try often."""

STRANGE: Final = 0.03
"""Share of usual rows that may be called anomalous."""


@dataclass(frozen=True)
class Parts:
    """Rows fitted to, rows that choose, later rows of the same projects, and later rows of projects never seen."""

    fitting: Rows
    choosing: Rows
    later: Rows
    unseen: Rows


@dataclass(frozen=True)
class Fitted:
    """A model with where it says yes, and how it was chosen."""

    model: Member | Council
    threshold: float
    found: Found | None = None


class TooFewRowsError(ValueError):
    """There are too few rows to fit a model and to say how good it is."""


def cuts(rows: Rows) -> tuple[np.datetime64, np.datetime64]:
    """Return the two dates at which rows are cut, the same for every target."""
    days = np.sort(rows.moments)
    first, second = (days[int(share * (len(days) - 1))] for share in CUTS)
    return first, second


def parts(rows: Rows, target: str, at: tuple[np.datetime64, np.datetime64], seed: int) -> Parts:
    """Divide the rows: those whose target is known, or all of them for anomalies, which nothing is fitted to.

    Parameters
    ----------
    rows
        All rows.
    target
        One of `HORIZON_DAYS`.
    at
        What `cuts` returns.
    seed
        Chooses the projects that are kept out.

    Raises
    ------
    TooFewRowsError
        If a part, other than that of unseen projects, has fewer than 20 rows or one outcome only.
    """
    kept = np.ones(len(rows), dtype=np.bool_)
    if len(np.unique(rows.projects)) >= 5:
        kept[splits.holdout(rows.projects, ASIDE, seed)[1]] = False
    horizon = np.timedelta64(HORIZON_DAYS[target], "D")
    known = np.isfinite(rows.targets[target]) | (target == "anomaly")
    first, second = at
    early, middle, late = (
        rows.moments < first - horizon,
        (rows.moments >= first) & (rows.moments < second - horizon),
        rows.moments >= second,
    )
    chosen = (early & known & kept, middle & known & kept, late & known & kept, late & known & ~kept)
    divided = Parts(*(rows.select(np.flatnonzero(part)) for part in chosen))
    named = {"fitted to": divided.fitting, "chosen by": divided.choosing, "tested on": divided.later}
    for what, part in named.items():
        if len(part) < 20 or (target not in ("impact", "anomaly") and len(np.unique(part.targets[target])) < 2):
            raise TooFewRowsError(
                f"expected at least 20 rows to be {what} of which the target '{target}' is known, with both outcomes "
                f"among them, got {len(part)}; extract features over a longer time, or of more projects"
            )
    return divided


def fit(model: str, divided: Parts, run: Run | None, console: Console, *, trials: int, budget_s: float) -> Fitted:
    """Fit one of `MEMBERS`.

    Parameters
    ----------
    model
        Which.
    divided
        The rows.
    run
        Where trials are logged.
    console
        Where progress is shown.
    trials, budget_s
        Of the search.
    """
    its, target = columns(READS[model]), TARGET[model]
    early, middle = divided.fitting, divided.choosing
    if model == "code_anomaly":
        stranger = Member(model, anomaly().fit(early.features[:, its]))
        return Fitted(stranger, strange(stranger.answer(middle.features[:, its])))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Stochastic Optimizer")  # so many epochs are meant, converged or not
        found = searched(model, early, run, console, trials=trials, budget_s=budget_s)
        estimator = found.estimator.fit(early.features[:, its], early.targets[target])
    if model == "code_impact":
        return Fitted(Member(model, estimator), 0.0, found)
    member = calibrated(model, estimator, middle.features[:, its], middle.targets[target].astype(np.float64))
    by = "f1" if model == "code_bugs" else "accuracy"
    chosen = best_threshold(middle.targets[target], member.answer(middle.features[:, its]), by)
    return Fitted(member, chosen, found)


def searched(model: str, early: Rows, run: Run | None, console: Console, *, trials: int, budget_s: float) -> Found:
    """Search a model's estimator on folds by time and by project, both of them within the rows fitted to."""
    target = TARGET[model]
    some = early
    if len(early) > MOST_SEARCHED:
        some = early.select(np.sort(np.random.default_rng(0).permutation(len(early))[:MOST_SEARCHED]))
    score: Callable[[Any, Any, Any], float] = minus_rmse if target == "impact" else area
    return search(
        CANDIDATES[model],
        some.features[:, columns(READS[model])],
        some.targets[target],
        folds(some, target),
        score,
        trials=trials,
        budget_s=budget_s,
        run=run,
        console=console,
    )


def folds(rows: Rows, target: str) -> list[tuple[Indices, Indices]]:
    """Return two folds by time and two by project, as far as there are enough of either."""
    found: list[tuple[Indices, Indices]] = []
    try:
        found += splits.by_time(rows.moments, 2, np.timedelta64(HORIZON_DAYS[target], "D"))
    except ValueError:  # too short a time for an embargo
        found += splits.by_time(rows.moments, 2)
    if len(np.unique(rows.projects)) >= 4:
        found += splits.folds(rows.projects, 2)
    if target == "impact":
        return found
    truth = rows.targets[target]
    return [fold for fold in found if all(len(np.unique(truth[part])) == 2 for part in fold)]


def fit_council(members: dict[str, Fitted], divided: Parts) -> Fitted:
    """Let the members vote: curves and weights are learned on the rows that choose, by none of them fitted to.

    Parameters
    ----------
    members
        All of `MEMBERS`, fitted to rows before the same first cut.
    divided
        By the council's own target.
    """
    voting = [members[name].model for name in MEMBERS]
    middle = divided.choosing
    truth = middle.targets[TARGET["code_meta"]]
    together = council(
        [one for one in voting if isinstance(one, Member)],
        [columns(READS[name]) for name in MEMBERS],
        middle.features,
        truth.astype(np.float64),
    )
    return Fitted(together, best_threshold(truth, together.answer(middle.features), "accuracy"))


def strange(scores: Answers) -> float:
    """Return the score that `STRANGE` of these rows reach, half-way between two of them."""
    ordered = np.sort(scores)
    place = int(np.clip(np.ceil((1 - STRANGE) * len(ordered)), 1, len(ordered) - 1))
    return float(np.float32((ordered[place - 1] + ordered[place]) / 2))


def area(fitted: Any, features: npt.NDArray[np.float32], target: npt.NDArray[np.float32]) -> float:
    """Return a fitted classifier's area under the ROC curve."""
    return auc(target, fitted.predict_proba(features)[:, 1])


def minus_rmse(fitted: Any, features: npt.NDArray[np.float32], target: npt.NDArray[np.float32]) -> float:
    """Return a fitted regressor's root mean square error, negated: higher is better."""
    return -rmse(target, np.clip(fitted.predict(features), 0, 1))


def plain(target: str, early: Rows, rows: Rows, names: tuple[str, ...]) -> Answers:
    """Return what a plain baseline answers: a logistic or a linear regression on the same features."""
    its = columns(names)
    model = code_estimators.plain(target == "impact").fit(early.features[:, its], early.targets[target])
    if target == "impact":
        return np.clip(np.asarray(model.predict(rows.features[:, its]), np.float64), 0.0, 1.0)
    return np.asarray(model.predict_proba(rows.features[:, its])[:, 1], np.float64)
