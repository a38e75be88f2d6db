"""Forecasts of recorded monthly spending beside plain baselines, by rolling origins.

The spending is a local authority's, on purchase cards: units and their categories stand in for households. Nothing
about it is regular: half of a unit's categories see no payment in half of the months, and reorganisations end whole
budgets.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.budget.forecast_features import YEAR
from models.quality.measures import wape
from training.budget import recorded as budget_recorded
from training.budget.forecast.fit import DEFAULTS, fit_trees
from training.budget.forecast.forecaster import Forecaster, conformal
from training.budget.forecast.metrics import baselines, coverage
from training.budget.forecast.series import Asked, Series, asked, joined, seasons_of, series_of
from training.data.reading.reader import TableReader

if TYPE_CHECKING:
    import pandas as pd

LEVELS: Final = {
    "unit and category": ("account", "category"),
    "unit": ("account", ""),
    "category": ("", "category"),
}
"""What a budget is: whose, and of what."""

DAYS: Final = (0, 10, 20)
ALIVE: Final = 9
"""Of the last twelve months, how many must have seen a payment for a budget to be forecast."""

HELD: Final = 6
"""Last months before an origin: they stretch the intervals, and train nothing."""

MOST_ROWS: Final = 24_000
PLAIN: Final = ("last month", "same month last year", "12-month mean", "3-month mean", "spent + usual rest")


def evaluate(path: Path, console: Console, least_years: int = 2, reader: TableReader | None = None) -> None:
    """Print a table per level, over all origins, and the errors of each year.

    Parameters
    ----------
    path
        Of the recorded card payments.
    console
        Where to print.
    least_years
        Years before the first origin.
    reader
        Reads the payments.
    """
    frame, _ = budget_recorded.read(path, least=1, reader=reader)
    lines = [
        "| budget | forecasts | day | forecast | " + " | ".join(PLAIN) + " | within 80 % |",
        "|" + "---|" * (len(PLAIN) + 5),
    ]
    yearly = ["| budget | year | forecasts | forecast | " + " | ".join(PLAIN) + " |", "|" + "---|" * (len(PLAIN) + 4)]
    for level, (owner, category) in LEVELS.items():
        series, missing = recorded_series(frame, owner, category)
        months = series.totals.shape[1]
        tested: list[Asked] = []
        answers: list[npt.NDArray[np.float64]] = []
        for origin in range(YEAR * (least_years + 1) - _offset(series), months, YEAR):
            made, questions = _forecast(series, origin, min(origin + YEAR, months), missing)
            tested.append(questions)
            answers.append(made)
            at = questions.moment.day == 0
            yearly.append(f"| {level} | {_year(series, origin)} | {_row(questions.select(at), made[at])} |")
            console.print(f"{level}, {_year(series, origin)}: {len(questions)} forecasts", highlight=False)
        whole, quantiles = joined(tested), np.concatenate(answers)
        largest = np.bincount(whole.series, whole.total).argmax()
        for name, kept in ((level, np.ones(len(whole), bool)), (f"{level}, but one", whole.series != largest)):
            for day in DAYS:
                at = kept & (whole.moment.day == day)
                within = coverage(whole.total[at], quantiles[at])
                number, rest = _row(whole.select(at), quantiles[at]).split(" | ", 1)
                lines.append(f"| {name} | {number} | {day} | {rest} | {within:.0%} |")
    console.print(
        "\nWAPE by day of the month, all years; 'but one': the largest budget left out\n\n" + "\n".join(lines),
        highlight=False,
        markup=False,
    )
    console.print("\nWAPE before the month begins, by year\n\n" + "\n".join(yearly), highlight=False, markup=False)


def recorded_series(frame: pd.DataFrame, owner: str, category: str) -> tuple[Series, frozenset[int]]:
    """Add up payments (refunds aside) by statement; a missing statement repeats the one before and is never tested.

    Parameters
    ----------
    frame
        By `training.budget.recorded.read`.
    owner, category
        Columns that distinguish budgets; "" for all alike.
    """
    paid = frame[frame["amount"] < 0]
    statement = paid["statement"].to_numpy().astype("datetime64[M]")
    first, last = statement.astype("datetime64[D]"), (statement + 1).astype("datetime64[D]") - 1
    # a payment of another month than its statement's counts on the statement's nearest day
    dates = np.clip(paid["date"].to_numpy().astype("datetime64[D]"), first, last)
    alike = np.full(len(paid), "all")
    columns = [paid[name].to_numpy().astype(np.str_) if name else alike for name in (owner, category)]
    series = series_of(columns[0], columns[1], dates, -paid["amount"].to_numpy())
    missing = np.flatnonzero(series.totals.sum(axis=0) == 0)
    for month in missing[missing > 0].tolist():
        series.spent[:, month] = series.spent[:, month - 1]
    return series, frozenset(missing.tolist())


def _forecast(series: Series, origin: int, end: int, missing: frozenset[int]) -> tuple[npt.NDArray[np.float64], Asked]:
    """Train on the months before an origin, stretch on the last of them, and forecast those after it."""
    past = [month for month in range(YEAR, origin - HELD) if month not in missing]
    held = [month for month in range(origin - HELD, origin) if month not in missing]
    seasons = seasons_of(series, [month for month in range(YEAR, origin) if month not in missing])
    known = _alive(asked(series, past, None, seasons_of(series, past)))
    few = np.random.default_rng(origin).permutation(len(known))[:MOST_ROWS]
    trees = fit_trees({**DEFAULTS, "rows_per_leaf": 80, "seed": 0}, known.select(few))
    recent = _alive(asked(series, held, DAYS, seasons))
    below, above = conformal(trees.predict(recent.guess.rows), recent.target)
    questions = _alive(asked(series, _known(range(origin, end), missing), DAYS, seasons))
    return Forecaster(trees, below, above, 1.0, seasons).euros(questions), questions


def _known(months: Iterable[int], missing: frozenset[int]) -> list[int]:
    return [month for month in months if month not in missing]


def _alive(questions: Asked) -> Asked:
    return questions.select((questions.moment.history[:, -YEAR:] > 0).sum(axis=1) >= ALIVE)


def _row(questions: Asked, quantiles: npt.NDArray[np.float64]) -> str:
    plain = baselines(questions.moment)
    errors = [wape(questions.total, quantiles[:, 1]), *(wape(questions.total, plain[name]) for name in PLAIN)]
    return f"{len(questions):,} | " + " | ".join(f"{error:.2f}" for error in errors)


def _offset(series: Series) -> int:
    """Return how many months after January the series begin, so that origins fall on Januaries."""
    return int(series.first.astype(np.int64)) % YEAR


def _year(series: Series, month: int) -> str:
    return str(series.first + month)[:4]
