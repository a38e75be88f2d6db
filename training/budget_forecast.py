"""The recipe of `budget_forecast`: from generated households to month-end forecasts that can be certified.

options ─ generate ─> transactions ─ add up ─> series ─ split by household, and by time ─> fitting, calibration, test
fitting ─ search, rolling origins ─> quantile trees ─ calibration ─> honest intervals ─ test: later, unseen ─> Trained
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from archives.certificate import Case
from archives.contract import Contract, Tensor
from models.budget.forecast_features import FEATURES, YEAR
from training import features_report, tracking
from training.archive import TABULAR_TOLERANCE, Release, served
from training.budget_forecast_fit import DAYS, assembled, evaluated, fit, questions, searched
from training.budget_forecast_model import QUANTILES, Forecaster
from training.budget_forecast_series import Asked, Series, asked, joined, series_of
from training.data import budget_synthetic, manifest, splits
from training.provenance import provenance

if TYPE_CHECKING:
    import pandas as pd

MODEL: Final = "budget_forecast"
TESTED: Final = 6
"""Last months, which nothing is trained or calibrated on."""

LEFT_OUT: Final = ("revenus", "remboursements", "virements")
"""Categories that are no spending, or go either way: nobody budgets them."""

MOST_CATEGORIES: Final = 40
MOST_MONTHS: Final = 60
MOST_TRANSACTIONS: Final = 1000
REFERENCES: Final = 512


@dataclass(frozen=True)
class Options:
    """One training run.

    Attributes
    ----------
    home
        Folder of the local MLflow database.
    users, months
        Households to generate, and months of each: a year is history only, and the last six are for testing.
    seed
        Of all chance.
    trials
        Of the search, over all estimators that are compared; at least one each.
    budget_s
        Seconds after which no further trial begins.
    """

    home: Path = Path(".marina")
    users: int = 48
    months: int = 36
    seed: int = 0
    trials: int = 2
    budget_s: float = 60.0


@dataclass(frozen=True)
class Trained:
    """A trained forecaster with what its certificate and provenance are made of.

    Attributes
    ----------
    forecaster
        What serves.
    test
        Forecasts for households never seen in training, in months after it.
    example
        A request of one of them.
    tables
        How the forecasts did by day of the month, in Markdown.
    metrics
        On `test`.
    params
        Of the run.
    data_manifest_sha256, mlflow_run_id
        Which data and which run.
    """

    forecaster: Forecaster
    test: Asked
    example: dict[str, Any]
    tables: str
    metrics: dict[str, float]
    params: dict[str, str | int | float]
    data_manifest_sha256: str
    mlflow_run_id: str


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
    what = budget_synthetic.Synthesis(users=options.users, months=options.months, seed=options.seed)
    frame = budget_synthetic.generate(what)
    data = manifest.of_arrays({name: _plain(frame[name]) for name in frame.columns}, "budget_synthetic")
    series = household_series(frame, options.months)
    kept, test = splits.holdout(series.owners, 0.3, options.seed)
    fitting, held = (series.select(kept[part]) for part in splits.holdout(series.owners[kept], 0.3, options.seed))
    unseen, past = series.select(test), range(YEAR, options.months - TESTED)
    params: dict[str, str | int | float] = {"model": MODEL, "users": options.users, "months": options.months}
    params |= {"seed": options.seed, "trials": options.trials}
    with tracking.run("budget", options.home, params, data, MODEL) as run:
        known = questions(fitting, past, options.seed)
        chosen = searched(known, options.trials, options.budget_s, options.seed, run, console)
        forecaster = assembled(fit(chosen, known), fitting, held, past)
        later = range(options.months - TESTED, options.months)
        tested = asked(unseen, later, DAYS, forecaster.seasons)
        blind = asked(unseen, later, DAYS, forecaster.seasons, blind=1.0)
        metrics, tables = evaluated(forecaster, tested, unseen.owners)
        unsighted, _ = evaluated(forecaster, blind, unseen.owners)
        metrics |= {f"blind.{name}": unsighted[name] for name in ("wape", "coverage", "day_15.mape", "day_15.wape")}
        run.metrics(metrics)
        run.text(tables, "by_day.md")
        few = np.random.default_rng(options.seed).permutation(len(tested))[:200]
        features_report.explain(run, forecaster.trees.members_[1], tested.guess.rows[few], FEATURES, "median")
        run_id = run.id
    console.print(
        f"{MODEL}: on {len(set(unseen.owners.tolist()))} unseen households' last {TESTED} months, totals are off by "
        f"{metrics['total.day_0.mape']:.1%} before the month and {metrics['total.day_15.mape']:.1%} on day 15, "
        f"categories by {metrics['day_0.mape']:.1%} and {metrics['day_15.mape']:.1%} (MAPE); "
        f"{metrics['coverage']:.1%} of months end within their 80 % interval",
        highlight=False,
    )
    return Trained(
        forecaster=forecaster,
        test=joined([tested, blind]),
        example=_example(frame, unseen, options.months - 1),
        tables=tables,
        metrics=metrics,
        params=params | {"rows_fitting": len(known), "rows_test": len(tested)},
        data_manifest_sha256=data.sha256,
        mlflow_run_id=run_id,
    )


def household_series(frame: pd.DataFrame, months: int) -> Series:
    """Return what each household pays in each category, by month and day."""
    frame = frame[~frame["category"].isin(LEFT_OUT)]
    owners, categories = (frame[name].to_numpy().astype(np.str_) for name in ("user", "category"))
    return series_of(owners, categories, frame["date"].to_numpy(), -frame["amount"].to_numpy(), months)


def release(trained: Trained, version: str) -> Release:
    """Export a trained forecaster and collect its proofs.

    Parameters
    ----------
    trained
        By `train`.
    version
        Such as ``1.0``.
    """
    forecaster, rows = trained.forecaster, trained.test.guess.rows
    few = np.random.default_rng(0).permutation(len(rows))
    reference = trained.test.select(few[:REFERENCES])
    seasons = {name: [None if np.isnan(one) else one for one in year] for name, year in forecaster.seasons.items()}
    return Release(
        contract=Contract(
            model=MODEL,
            version=version,
            family="budget",
            task="regression",
            inputs=(
                Tensor(
                    "features", "float32", ("batch", len(FEATURES)),
                    unit="see docs/families/budget.md", missing="NaN: what a feature needs is not known",
                ),
            ),
            outputs=(
                Tensor(
                    "quantiles", "float32", ("batch", len(QUANTILES)),
                    unit="10th, 50th, 90th percentile: asinh of the series' noise, from the first guess",
                ),
            ),
            features=FEATURES,
            limits={"categories": MOST_CATEGORIES, "months": MOST_MONTHS, "transactions": MOST_TRANSACTIONS},
        ),
        handler="handlers.budget_forecast:BudgetForecastHandler",
        onnx=forecaster.graph(),
        cases=tuple(_case(name, forecaster, some) for name, some in _golden(rows).items()),
        example=trained.example,
        reference={
            "features": reference.guess.rows,
            "quantiles": forecaster.answers(reference.guess.rows).astype(np.float32),
            "target": reference.target.astype(np.float32),
        },
        provenance=provenance(trained),
        serving=served(pass_limit=2048),  # categories
        tolerance=TABULAR_TOLERANCE,
        evaluation=(_case("unseen households", forecaster, rows[few[:4000]]),),
        # what is decided by a forecast: whether the month ends above its first guess, for sure, likely or perhaps
        decide=lambda outputs: np.greater(outputs["quantiles"], 0).sum(axis=1),
        family_data={"seasons": seasons, "total_stretch": forecaster.total},
    )  # fmt: skip


def evaluate_recorded(path: Path, console: Console) -> None:
    """Print how forecasts of recorded monthly spending do, as a table in Markdown.

    Parameters
    ----------
    path
        The file that `training.data.budget_recorded` reads.
    console
        Where to print.
    """
    from training.budget_forecast_recorded import evaluate

    evaluate(path, console)


def _golden(rows: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Choose rows that a served model must answer as the trained one: usual ones, missing values, and extremes."""
    usual = rows[np.linspace(0, len(rows) - 1, 48).astype(np.int64)]
    gaps = usual.copy()
    gaps[np.random.default_rng(0).random(gaps.shape) < 0.3] = np.nan
    width = len(FEATURES)
    extremes = [np.full(width, value, np.float32) for value in (-50, 0, 50, np.nan, 1e30, -1e30)]
    return {"usual": usual, "gaps": gaps, "extremes": np.stack(extremes)}


def _case(name: str, forecaster: Forecaster, rows: npt.NDArray[np.float32]) -> Case:
    return Case(name, {"features": rows}, {"quantiles": forecaster.answers(rows).astype(np.float32)})


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
