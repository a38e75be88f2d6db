"""Fits the models of code health: to all rows, with calibration and thresholds by answers to rows not fitted to.

::

    rows ─┬─ parts of the projects, each answered by fits to the others' past ─> calibration, votes ─┬─> model
          └─ all ─> estimator ───────────────────────────────────────────────────────────────────────┘

Rows are cut at two dates. The evaluated fit is one to rows before the second, tested on those after it, and on projects
kept out of all else; before each cut rows are left out whose target would look beyond it. What ships is a fit of the
same settings to all rows, recent ones and those projects included.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from archives.errors import MarinaError
from models.code_health.features import READS, columns
from models.quality.measures import rmse
from training.code_health import estimators as code_estimators
from training.code_health.estimators import CANDIDATES, Answers, anomaly
from training.code_health.metrics import auc, best_threshold
from training.code_health.rows import HORIZON_DAYS, Rows
from training.code_health.voting import Member, VotingEnsemble, fit_calibration, fit_ensemble
from training.data import splits
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

FOLDS: Final = 3
"""Parts of the projects, each answered by fits to the others, where there are four projects or more."""

LEAST_ROWS: Final = 20

MOST_SEARCHED: Final = 5_000
"""Rows that the search sees: enough to compare, few enough to try often."""

STRANGE: Final = 0.03
"""Share of usual rows that may be called anomalous."""


@dataclass(frozen=True)
class Parts:
    """Rows before the second cut, later rows of the same projects, later rows of projects kept out; and all rows."""

    known: Rows
    later: Rows
    unseen: Rows
    whole: Rows


@dataclass(frozen=True)
class Division:
    """How rows are divided so that each is answered by a fit that has seen neither its project nor its time.

    Attributes
    ----------
    first
        Rows from this date on are answered, by fits to rows before it.
    groups
        Of projects: those of one are answered by fits to the others. Of one group alone, projects are not divided.
    """

    first: np.datetime64
    groups: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, rows: Rows, first: np.datetime64, seed: int) -> Division:
        """Divide by a date, and into `FOLDS` groups of projects where there are enough."""
        names = np.unique(rows.projects)
        if len(names) <= FOLDS:
            return cls(first, (tuple(names.tolist()),))
        parts = (np.unique(rows.projects[late]) for _, late in splits.folds(rows.projects, FOLDS, seed))
        return cls(first, tuple(tuple(part.tolist()) for part in parts))

    def early(self, rows: Rows, target: str) -> Rows:
        """Return the rows whose target does not look beyond the date, of all projects."""
        return rows.select(np.flatnonzero(rows.moments < self.first - np.timedelta64(HORIZON_DAYS[target], "D")))

    def pairs(self, rows: Rows, target: str) -> list[tuple[Indices, Indices]]:
        """Return for each group the rows to fit to, whose target does not look beyond the date, and those to answer."""
        early = rows.moments < self.first - np.timedelta64(HORIZON_DAYS[target], "D")
        late = rows.moments >= self.first
        if len(self.groups) == 1:
            return [(np.flatnonzero(early), np.flatnonzero(late))]
        mine = [np.isin(rows.projects, group) for group in self.groups]
        return [(np.flatnonzero(early & ~ours), np.flatnonzero(late & ours)) for ours in mine]


@dataclass(frozen=True)
class Fitted:
    """A model with where it says yes.

    Attributes
    ----------
    model
        Fitted to all rows.
    threshold
        From where on its answer is yes; 0 for a value.
    division, parts
        How rows are divided for answers by fits that have not seen them, and those fits, one for each group of
        projects; None where the others have too few rows. An ensemble has none.
    """

    model: Member | VotingEnsemble
    threshold: float
    division: Division | None = None
    parts: tuple[Member | None, ...] = ()

    def answer_unseen(self, rows: Rows) -> Answers:
        """Answer each row by the fit that has seen neither its project nor its time; NaN where there is none, [N]."""
        answers = np.full(len(rows), np.nan)
        if self.division is not None:
            its = columns(READS[self.model.model])
            for member, (_, late) in zip(self.parts, self.division.pairs(rows, "anomaly"), strict=True):
                if member is not None and len(late):
                    answers[late] = member.answer(rows.features[np.ix_(late, its)])
        return answers


class TooFewRowsError(MarinaError, ValueError):
    """There are too few rows to fit a model and to say how good it is."""


def cuts(rows: Rows) -> tuple[np.datetime64, np.datetime64]:
    """Return the two dates at which rows are cut, the same for every target."""
    days = np.sort(rows.moments)
    first, second = (days[int(share * (len(days) - 1))] for share in CUTS)
    return first, second


def last_cut(rows: Rows) -> np.datetime64:
    """Return the date that is among all rows where the first cut is among those before the second."""
    day: np.datetime64 = np.sort(rows.moments)[int(CUTS[0] / CUTS[1] * (len(rows) - 1))]
    return day


def keep_projects(rows: Rows, seed: int) -> npt.NDArray[np.str_]:
    """Return the projects that are learned from, the same for every model; the others are only tested on."""
    kept = rows.projects
    if len(np.unique(rows.projects)) >= 5:
        kept = kept[splits.holdout(rows.projects, ASIDE, seed)[0]]
    return np.unique(kept)


def parts(rows: Rows, target: str, at: tuple[np.datetime64, np.datetime64], projects: npt.NDArray[np.str_]) -> Parts:
    """Divide the rows: those whose target is known, or all of them for anomalies, which nothing is fitted to.

    Parameters
    ----------
    rows
        All rows.
    target
        One of `HORIZON_DAYS`.
    at
        What `cuts` returns.
    projects
        What `keep_projects` returns.

    Raises
    ------
    TooFewRowsError
        If rows to fit to, to choose by or to test on are fewer than 20 or have one outcome only.
    """
    kept = np.isin(rows.projects, projects)
    horizon = np.timedelta64(HORIZON_DAYS[target], "D")
    known = np.isfinite(rows.targets[target]) | (target == "anomaly")
    first, second = at
    before, late = rows.moments < second - horizon, rows.moments >= second
    chosen = (before & known & kept, late & known & kept, late & known & ~kept, known)
    divided = Parts(*(rows.select(np.flatnonzero(part)) for part in chosen))
    [(early, middle)] = Division(first, ((),)).pairs(divided.known, target)
    named = {
        "fitted to": divided.known.select(early),
        "chosen by": divided.known.select(middle),
        "tested on": divided.later,
    }
    for what, part in named.items():
        if not enough(part, target):
            raise TooFewRowsError(
                f"expected at least {LEAST_ROWS} rows to be {what} of which the target '{target}' is known, with both "
                f"outcomes among them, got {len(part)}; extract features over a longer time, or of more projects"
            )
    return divided


def enough(rows: Rows, target: str) -> bool:
    """Return whether rows are enough to fit to or to choose by."""
    both = target in ("impact", "anomaly") or len(np.unique(rows.targets[target])) == 2
    return len(rows) >= LEAST_ROWS and both


def fit(model: str, rows: Rows, division: Division, estimator: Any) -> Fitted:
    """Fit one of `MEMBERS` to all rows, calibrated and cut by answers to rows that the answering fit has not seen.

    Parameters
    ----------
    model
        Which.
    rows
        Of which the target is known.
    division
        How they are divided for such answers; by its date alone where projects are too few.
    estimator
        By `choose`, not fitted.
    """
    its, target = columns(READS[model]), TARGET[model]

    def member(some: Rows) -> Member | None:
        return Member(model, fit_estimator(estimator, some, its, target)) if enough(some, target) else None

    for divided in (division, replace(division, groups=division.groups[:1])):
        partial = tuple(member(rows.select(early)) for early, _ in divided.pairs(rows, target))
        fitted = Fitted(Member(model, None), 0.0, divided, partial)
        answers = fitted.answer_unseen(rows)
        asked = np.flatnonzero(np.isfinite(answers))
        if enough(rows.select(asked), target):
            break
    answers, truth = answers[asked], rows.targets[target][asked]
    calibration = None
    if model in ("code_risk", "code_bugs"):
        calibration = fit_calibration(answers, truth.astype(np.float64))
        answers = calibration(answers[:, None])[:, 0]
    return Fitted(
        Member(model, fit_estimator(estimator, rows, its, target), calibration),
        choose_threshold(model, answers, truth),
        divided,
        tuple(one and replace(one, calibration=calibration) for one in partial),
    )


def fit_estimator(estimator: Any, rows: Rows, its: npt.NDArray[np.int64], target: str) -> Any:
    """Return a fitted copy of an estimator; an isolation forest sees no target."""
    from sklearn.base import clone

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Stochastic Optimizer")  # as many epochs as intended
        if target == "anomaly":
            return clone(estimator).fit(rows.features[:, its])
        return clone(estimator).fit(rows.features[:, its], rows.targets[target])


def choose_threshold(model: str, answers: Answers, truth: npt.NDArray[np.float32]) -> float:
    """Return from where on a model says yes, by answers of fits that have not seen the rows."""
    if model == "code_anomaly":
        return strange(answers)
    if model == "code_impact":
        return 0.0
    return best_threshold(truth, answers, "f1" if model == "code_bugs" else "accuracy")


def choose(
    model: str, rows: Rows, run: Run | None, console: Console, *, trials: int, budget_s: float
) -> tuple[Any, Found | None]:
    """Return the estimator to fit, by a search on folds by time and by project, and what was tried.

    Parameters
    ----------
    model
        One of `MEMBERS`; the isolation forest has nothing to be searched by.
    rows
        To search on: none that calibrates or chooses thresholds.
    run
        Where trials are logged.
    console
        Where progress is shown.
    trials, budget_s
        Of the search; without trials the defaults are taken.
    """
    if model == "code_anomaly":
        return anomaly(), None
    if not trials:
        return code_estimators.usual(model), None
    target = TARGET[model]
    some = rows
    if len(rows) > MOST_SEARCHED:
        some = rows.select(np.sort(np.random.default_rng(0).permutation(len(rows))[:MOST_SEARCHED]))
    score: Callable[[Any, Any, Any], float] = minus_rmse if target == "impact" else area
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Stochastic Optimizer")
        found = search(
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
    return found.estimator, found


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


def fit_voting_ensemble(members: dict[str, Fitted], rows: Rows) -> Fitted:
    """Let the members vote: curves and weights are learned by answers of fits that have not seen the rows.

    Parameters
    ----------
    members
        All of `MEMBERS`, fitted to rows that are divided alike.
    rows
        Of which the ensemble's own target is known.
    """
    answers = np.stack([members[name].answer_unseen(rows) for name in MEMBERS], axis=1)
    asked = np.isfinite(answers).all(axis=1)
    truth = rows.targets[TARGET["code_meta"]][asked]
    together = fit_ensemble(
        [model for name in MEMBERS if isinstance(model := members[name].model, Member)],
        [columns(READS[name]) for name in MEMBERS],
        answers[asked],
        truth.astype(np.float64),
    )
    return Fitted(together, best_threshold(truth, together.mean(answers[asked]), "accuracy"))


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
