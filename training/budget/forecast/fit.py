"""Fitting the forecaster: what to ask about, trees by rolling origins, and intervals that hold on other households.

::

    owners ─┬─ each third answered by a fit to the others ─> stretch of the intervals, and of totals ─┬─> forecaster
            └─ all ─────────────────────────────────────────> quantile trees, seasons ────────────────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.quality.measures import mape, wape
from training.budget.forecast.forecaster import (
    Forecaster,
    LinearQuantiles,
    QuantileTrees,
    conformal,
    pinball,
    stretched,
    weighted,
)
from training.budget.forecast.metrics import by_day, coverage, markdown, of_totals, total_stretch
from training.budget.forecast.series import Asked, Series, asked, joined, seasons_of
from training.data import splits
from training.search import Candidate, search
from training.tracking import Run

TREES: Final = "quantile trees"
DEFAULTS: Final[Mapping[str, Any]] = {
    "trees": 60, "learning_rate": 0.13, "leaves": 12, "rows_per_leaf": 50, "l2": 1.0,
}  # fmt: skip

DAYS: Final = (0, 5, 10, 15, 20, 25)
"""Days of the month that forecasts are tested on."""

BLIND: Final = 0.3
"""Share of training forecasts without what had been spent by the day in earlier months: a request may lack it, too."""

FOLDS: Final = 3
"""Parts of the owners; each is answered by a fit that has not seen them."""

PLAIN: Final = ("last month", "same month last year", "12-month mean", "run rate", "spent + usual rest")


def questions(series: Series, months: range, seed: int = 0) -> Asked:
    """Ask for forecasts to train on: each half of the owners with the seasons that the other half shows."""
    owners = np.unique(series.owners)
    mine = np.isin(series.owners, np.random.default_rng(seed).permutation(owners)[: len(owners) // 2])
    halves = [series.select(mine), series.select(~mine)]
    seasons = [seasons_of(half, months) for half in halves]
    return joined(
        [
            asked(half, months, None, others, blind=BLIND, seed=seed + number)
            for number, (half, others) in enumerate(zip(halves, reversed(seasons), strict=True))
        ]
    )


def searched(
    known: Asked,
    trials: int,
    budget_s: float,
    seed: int = 0,
    run: Run | None = None,
    console: Console | None = None,
) -> Mapping[str, Any]:
    """Compare estimators over rolling origins: trained on the months before, tested on those that followed.

    Returns
    -------
    mapping
        Hyper-parameters of the best quantile trees.
    """
    candidates = [
        Candidate(TREES, lambda trial: _trees(trial, seed), DEFAULTS),
        Candidate(
            "linear quantiles", lambda trial: LinearQuantiles(trial.suggest_float("alpha", 1e-6, 1e-2, log=True))
        ),
    ]
    found = search(
        candidates, weighted(known), known.target, splits.by_time(known.month, 2), pinball,
        trials=trials, budget_s=budget_s, run=run, console=console, seed=seed,
    )  # fmt: skip
    if run is not None:
        run.text(found.markdown(), "search.md")
    return next(trial.params for trial in found.trials if trial.name == TREES) | {"seed": seed}


def fit(params: Mapping[str, Any], series: Series, months: range, seed: int = 0) -> Forecaster:
    """Fit a forecaster to all owners; its intervals hold on owners that the answering fit has not seen.

    Parameters
    ----------
    params
        Of the quantile trees.
    series
        Of at least two owners.
    months
        Those to learn from, each with a year before it.
    seed
        Divides the owners, and of days asked about.
    """
    ordinary, grids, answers, quantiles = [], [], [], []
    count = min(FOLDS, len(np.unique(series.owners)))
    for learned, held in splits.folds(series.owners, count, seed):
        others, mine = series.select(learned), series.select(held)
        trees, seasons = fit_trees(params, questions(others, months, seed)), seasons_of(others, months)
        ordinary.append(asked(mine, months, None, seasons, blind=BLIND))
        answers.append(trees.predict(ordinary[-1].guess.rows))
        grid = asked(mine, months, DAYS, seasons)
        grids.append(replace(grid, series=held[grid.series]))
        quantiles.append(trees.predict(grid.guess.rows))
    below, above = conformal(np.concatenate(answers), joined(ordinary).target)
    grid = joined(grids)
    total = total_stretch(grid, series.owners, grid.guess.euros(stretched(np.concatenate(quantiles), below, above)))
    trees = fit_trees(params, questions(series, months, seed))
    return Forecaster(trees, below, above, total, seasons_of(series, months))


def fit_trees(params: Mapping[str, Any], known: Asked) -> QuantileTrees:
    """Fit quantile trees."""
    return QuantileTrees(**params).fit(weighted(known), known.target)


def evaluated(forecaster: Forecaster, tested: Asked, owners: npt.NDArray[np.str_]) -> tuple[dict[str, float], str]:
    """Return metrics, and tables by day of the month, of categories and of totals."""
    quantiles = forecaster.euros(tested)
    rows = by_day(tested, quantiles, DAYS)
    days, truth, totals = of_totals(tested, owners, quantiles, forecaster.total)
    metrics = {"mape": mape(tested.total, quantiles[:, 1]), "wape": wape(tested.total, quantiles[:, 1])}
    metrics |= {"coverage": coverage(tested.total, quantiles), "total.coverage": coverage(truth, totals)}
    summed = []
    for row, day in zip(rows, DAYS, strict=True):
        at = days == day
        summed.append(
            {"day": float(day), "MAPE": mape(truth[at], totals[at, 1]), "coverage": coverage(truth[at], totals[at])}
            | {"width": float((totals[at, 2] - totals[at, 0]).sum() / truth[at].sum())}
        )
        metrics |= {f"day_{day}.mape": row["forecast MAPE"], f"day_{day}.wape": row["forecast WAPE"]}
        metrics |= {f"day_{day}.coverage": row["coverage"], f"total.day_{day}.mape": summed[-1]["MAPE"]}
    errors = {f"{name} WAPE": f"{name} WAPE" for name in PLAIN}
    tables = [
        markdown(
            rows, {"day": "day", "MAPE": "forecast MAPE", "WAPE": "forecast WAPE", **errors, "within": "coverage"}
        ),
        markdown(summed, {"day": "day", "MAPE of the total": "MAPE", "within": "coverage", "width": "width"}),
    ]
    return metrics, "\n\n".join(tables) + "\n"


def _trees(trial: Any, seed: int) -> QuantileTrees:
    return QuantileTrees(
        trees=trial.suggest_int("trees", 30, 90),
        learning_rate=trial.suggest_float("learning_rate", 0.02, 0.2, log=True),
        leaves=trial.suggest_int("leaves", 4, 24),
        rows_per_leaf=trial.suggest_int("rows_per_leaf", 20, 200, log=True),
        l2=trial.suggest_float("l2", 0.1, 30, log=True),
        seed=seed,
    )
