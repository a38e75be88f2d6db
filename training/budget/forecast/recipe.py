"""The recipe of `budget_forecast`: from generated households to month-end forecasts that can be certified.

options ─ generate, add up ─> series ─┬─> kept households, early months ─ search, fit, evaluate ─┬─> Trained
                                      └─> all households and months ─ fit ───────────────────────┘
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.budget.forecast_features import FEATURES, YEAR
from training import family, tracking
from training.budget.forecast.fit import DAYS, DEFAULTS, evaluated, fit, questions, searched
from training.budget.forecast.forecaster import Forecaster
from training.budget.forecast.series import Asked, Series, asked, joined, series_of
from training.budget.synthetic import accounts
from training.data import manifest, splits
from training.evaluation import shap_report

if TYPE_CHECKING:
    import pandas as pd

MODEL: Final = "budget_forecast"
TESTED: Final = 6
"""Last months, which the evaluated fit is neither trained nor calibrated on."""

LEFT_OUT: Final = ("revenus", "remboursements", "virements")
"""Categories that are no spending, or go either way: no one budgets them."""


@dataclass(frozen=True, kw_only=True)
class Options(family.SearchOptions):
    """One training run.

    Attributes
    ----------
    users, months
        Households to generate, and months of each: a year is history only, and the last six are for testing.
    trials
        Of the search, over all estimators that are compared; at least one each. A quick run has no search.
    budget_s
        Seconds after which no further trial starts.
    """

    users: int = 48
    months: int = 36
    trials: int = 2
    budget_s: float = 60.0


@dataclass(frozen=True)
class Trained(family.Trained):
    """A trained forecaster with what its certificate and provenance are made of.

    Attributes
    ----------
    forecaster
        What serves.
    test, test_answers
        Forecasts for households that the evaluated fit has not seen, in months after those it has seen; and its
        answers, float64 [N, 3].
    requests
        int64 [N], the request that each is a category of: 0, 1, ….
    example
        A request of one of them.
    tables
        How the forecasts did by day of the month, in Markdown.
    """

    forecaster: Forecaster
    test: Asked
    test_answers: npt.NDArray[np.float64]
    requests: npt.NDArray[np.int64]
    example: dict[str, Any]
    tables: str


def train(options: Options, console: Console | None = None) -> Trained:
    """Train the forecaster on generated households, test it on later months of others, record the run in MLflow.

    Parameters
    ----------
    options
        What to train on, and how.
    console
        Where progress is shown; none is shown without one.

    Raises
    ------
    ValueError
        If there are too few months to train, calibrate and test on.
    """
    if options.months < YEAR + TESTED + 3:
        raise ValueError(f"expected at least {YEAR + TESTED + 3} months, got {options.months}")
    console = console or Console(quiet=True)
    what = accounts.Synthesis(users=options.users, months=options.months, seed=options.seed)
    frame = accounts.generate(what)
    data = manifest.of_arrays({name: _plain(frame[name]) for name in frame.columns}, "budget_synthetic")
    series = household_series(frame, options.months)
    kept, unseen = (series.select(part) for part in splits.holdout(series.owners, 0.3, options.seed))
    past = range(YEAR, options.months - TESTED)
    params: dict[str, str | int | float] = {"model": MODEL, "users": options.users, "months": options.months}
    params |= {"seed": options.seed, "trials": options.trials}
    with tracking.run("budget", options.home, params, data, MODEL) as run:
        known = questions(kept, past, options.seed)
        chosen: Mapping[str, Any] = {**DEFAULTS, "seed": options.seed}
        if not options.quick:
            chosen = searched(known, options.trials, options.budget_s, options.seed, run, console)
        forecaster = fit(chosen, kept, past, options.seed)
        later = range(options.months - TESTED, options.months)
        tested = asked(unseen, later, DAYS, forecaster.seasons)
        blind = asked(unseen, later, DAYS, forecaster.seasons, blind=1.0)
        metrics, tables = evaluated(forecaster, tested, unseen.owners)
        unsighted, _ = evaluated(forecaster, blind, unseen.owners)
        metrics |= {f"blind.{name}": unsighted[name] for name in ("wape", "coverage", "day_15.mape", "day_15.wape")}
        run.metrics(metrics)
        run.text(tables, "by_day.md")
        few = np.random.default_rng(options.seed).permutation(len(tested))[:200]
        shap_report.explain(run, forecaster.trees.members_[1], tested.guess.rows[few], FEATURES, "median")
        run_id = run.id
    console.print(
        f"{MODEL}: on {len(set(unseen.owners.tolist()))} unseen households' last {TESTED} months, totals are off by "
        f"{metrics['total.day_0.mape']:.1%} before the month and {metrics['total.day_15.mape']:.1%} on day 15, "
        f"categories by {metrics['day_0.mape']:.1%} and {metrics['day_15.mape']:.1%} (MAPE); "
        f"{metrics['coverage']:.1%} of months end within their 80 % interval",
        highlight=False,
    )
    test = joined([tested, blind])
    households = len(set(unseen.owners.tolist()))
    on = f"the last {TESTED} months of {households} households; the evaluated fit has seen neither"
    served, fits = forecaster, family.Fits(evaluated=on, shipped="the evaluated fit itself", refitted=False)
    if not options.quick:
        served = fit(chosen, series, range(YEAR, options.months), options.seed)
        whole = f"all {options.months} months of all {options.users} households"
        fits = family.Fits(evaluated=on, shipped=f"{whole}; intervals by answers out of folds of households")
    return Trained(
        forecaster=served,
        test=test,
        test_answers=forecaster.answers(test.guess.rows),
        requests=requests_of([tested, blind], unseen.owners),
        example=_example(frame, unseen, options.months - 1),
        tables=tables,
        metrics=metrics,
        params=params | {"rows_kept": len(known), "rows_test": len(tested)},
        data_manifest_sha256=data.sha256,
        mlflow_run_id=run_id,
        fits=fits,
        quick=options.quick,
    )


def household_series(frame: pd.DataFrame, months: int) -> Series:
    """Return what each household pays in each category, by month and day."""
    frame = frame[~frame["category"].isin(LEFT_OUT)]
    owners, categories = (frame[name].to_numpy().astype(np.str_) for name in ("user", "category"))
    return series_of(owners, categories, frame["date"].to_numpy(), -frame["amount"].to_numpy(), months)


def requests_of(lots: Sequence[Asked], owners: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """Say in which request each forecast would have come: those of one owner, month, day and lot in one.

    Parameters
    ----------
    lots
        Of forecasts, N in all.
    owners
        str [S], of the series that these are of.

    Returns
    -------
    ndarray
        int64 [N], from 0 on without a gap.
    """
    whose = np.unique(owners, return_inverse=True)[1]
    keys = [
        np.stack([np.full(len(lot), number), whose[lot.series], lot.month, lot.moment.day])
        for number, lot in enumerate(lots)
    ]
    numbers: npt.NDArray[np.int64] = np.unique(np.concatenate(keys, axis=1), axis=1, return_inverse=True)[1]
    return numbers.reshape(-1).astype(np.int64)


def _example(frame: pd.DataFrame, unseen: Series, month: int, day: int = 15) -> dict[str, Any]:
    """Return a request of one household in the middle of a month, with its subscriptions' payments of half a year."""
    user = str(unseen.owners[0])
    now = unseen.first + month
    categories = [
        {
            "name": str(unseen.categories[at]),
            "months": np.round(unseen.totals[at, max(0, month - 24) : month], 2).tolist(),
            "spent": round(float(unseen.spent[at, month, day]), 2),
            "by_now": np.round(unseen.spent[at, month - YEAR : month, day], 2).tolist(),
        }
        for at in np.flatnonzero(unseen.owners == user).tolist()
        if unseen.totals[at, month - YEAR : month].any()
    ]
    mine = frame[(frame["user"] == user) & frame["category"].isin(("abonnements", "telecom"))]
    mine = mine[
        (mine["date"] >= (now - 6).astype("datetime64[D]")) & (mine["date"] < now.astype("datetime64[D]") + day)
    ]
    transactions = [
        {"category": category, "label": label, "amount": float(amount), "date": str(date)[:10]}
        for category, label, amount, date in zip(
            mine["category"], mine["label"], mine["amount"], mine["date"], strict=True
        )
    ]
    return {"month": str(now), "day": day, "categories": categories, "transactions": transactions}


def _plain(column: Any) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = column.to_numpy()
    return values if values.dtype.kind in "fiM" else values.astype(np.str_)
