"""How good forecasts are: errors beside plain baselines, and whether intervals hold, by day of the month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from models.budget.forecast_features import YEAR, Moment
from models.budget.forecast_total import total
from models.budget.robust import mean
from models.quality.measures import covers, mape, wape
from training.budget.forecast.series import Asked

Floats = npt.NDArray[np.float64]


def coverage(truth: Floats, quantiles: Floats) -> float:
    """Return the share of truths within the interval, its ends included to the cent."""
    return float(covers(truth, quantiles[:, 0], quantiles[:, 2]).mean())


def baselines(moment: Moment) -> dict[str, Floats]:
    """Return what plain rules say each month comes to, float64 [N] each."""
    year = moment.history[:, -YEAR:]
    average = year.mean(axis=1)
    progress = moment.day / moment.days
    rest = mean(year - moment.by_day)
    return {
        "last month": year[:, -1],
        "same month last year": year[:, 0],
        "12-month mean": average,
        "3-month mean": year[:, -3:].mean(axis=1),
        "run rate": np.where(moment.day > 0, moment.spent / np.maximum(progress, 1e-9), average),
        "spent + usual rest": moment.spent + np.where(np.isnan(rest), average * (1 - progress), rest),
    }


def of_totals(
    asked: Asked, owners: npt.NDArray[np.str_], quantiles: Floats, stretch: float
) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Add up categories by owner, month and day: (days [K], truths [K], quantiles [K, 3])."""
    keys = np.stack([np.unique(owners, return_inverse=True)[1][asked.series], asked.month, asked.moment.day], axis=1)
    found, group = np.unique(keys, axis=0, return_inverse=True)
    truth = np.bincount(group, asked.total, len(found)).astype(np.float64)
    return found[:, 2], truth, total(quantiles, group, len(found), stretch)


def total_stretch(asked: Asked, owners: npt.NDArray[np.str_], quantiles: Floats) -> float:
    """Return what half the interval of a total must be stretched by to hold eight in ten."""
    _, truth, found = of_totals(asked, owners, quantiles, 1.0)
    half = np.maximum((found[:, 2] - found[:, 0]) / 2, 0.01)
    return float(np.quantile(np.abs(truth - found[:, 1]) / half, 0.8))


def by_day(asked: Asked, quantiles: Floats, days: Sequence[int]) -> list[dict[str, float]]:
    """Return errors and coverage of each day that was asked about: of the forecast, and of each baseline."""
    plain = baselines(asked.moment)
    rows = []
    for day in days:
        at = asked.moment.day == np.minimum(day, asked.moment.days)
        truth = asked.total[at]
        row = {"day": float(day), "coverage": coverage(truth, quantiles[at])}
        row["width"] = float((quantiles[at, 2] - quantiles[at, 0]).sum() / max(float(np.abs(truth).sum()), 1e-9))
        for name, forecast in {"forecast": quantiles[:, 1], **plain}.items():
            row[f"{name} MAPE"], row[f"{name} WAPE"] = mape(truth, forecast[at]), wape(truth, forecast[at])
        rows.append(row)
    return rows


def markdown(rows: Sequence[Mapping[str, float]], columns: Mapping[str, str]) -> str:
    """Return rows as a table in Markdown: `columns` maps each heading to a key, shares as percentages."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = [f"{row[key]:.0f}" if key == "day" else f"{row[key]:.1%}" for key in columns.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
