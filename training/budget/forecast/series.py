"""Transactions to monthly series, and series to every month and day that a forecast could have been asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.budget.forecast_features import MONTHS, YEAR, Guess, Moment, concatenated, guess

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_COUNTED: Final = 10
"""Series that are needed before a category's month of the year is believed."""

DAYS_AT_RANDOM: Final = 3

Seasons = Mapping[str, Sequence[float]]
"""Per category, what each month of the year comes to in usual months; from January; NaN if not known."""

_UNKNOWN = (float("nan"),) * 12


@dataclass(frozen=True)
class Series:
    """S series over M consecutive months.

    Attributes
    ----------
    owners, categories
        str [S]: whose, and of what.
    first
        datetime64[M], the first month.
    spent
        float64 [S, M, 32], euros up to and with each day of the month, from day 0; constant after its last day.
    """

    owners: npt.NDArray[np.str_]
    categories: npt.NDArray[np.str_]
    first: np.datetime64
    spent: Floats

    @property
    def totals(self) -> Floats:
        """float64 [S, M], each month's total."""
        return self.spent[:, :, -1]

    def select(self, rows: npt.NDArray[Any]) -> Series:
        """Return some of the series."""
        return Series(self.owners[rows], self.categories[rows], self.first, self.spent[rows])


@dataclass(frozen=True)
class Asked:
    """N forecasts that could have been asked for, and what came of them.

    Attributes
    ----------
    moment, guess
        What was known; the features.
    total
        float64 [N], euros of the whole month, as it turned out.
    series, month
        int64 [N]: which series, and which of its months.
    """

    moment: Moment
    guess: Guess
    total: Floats
    series: Ints
    month: Ints

    def __len__(self) -> int:
        return len(self.total)

    @property
    def target(self) -> Floats:
        """float64 [N], what a model is to say: how far off the guess is, `Guess.answers`."""
        return self.guess.answers(self.total)

    def select(self, rows: npt.NDArray[Any]) -> Asked:
        """Return some of them."""
        return Asked(
            self.moment.select(rows), self.guess.select(rows), self.total[rows], self.series[rows], self.month[rows]
        )


def series_of(
    owners: npt.NDArray[Any],
    categories: npt.NDArray[Any],
    dates: npt.NDArray[Any],
    euros: Floats,
    months: int | None = None,
) -> Series:
    """Add up transactions by owner, category and day.

    Parameters
    ----------
    owners, categories
        str [N].
    dates
        datetime64 [N].
    euros
        float64 [N], positive for what a series is about.
    months
        How many, from the first with a transaction; up to the last if None.
    """
    in_month = dates.astype("datetime64[M]")
    first = in_month.min()
    month = (in_month - first).astype(np.int64)
    day = (dates.astype("datetime64[D]") - in_month.astype("datetime64[D]")).astype(np.int64) + 1
    names, where = np.unique(
        np.char.add(np.char.add(owners.astype(np.str_), "\t"), categories.astype(np.str_)), return_inverse=True
    )
    daily = np.zeros((len(names), months or int(month.max()) + 1, 32))
    np.add.at(daily, (where, month, day), euros)
    parts = np.char.partition(names, "\t")
    return Series(parts[:, 0], parts[:, 2], first, daily.cumsum(axis=2))


def asked(
    series: Series,
    months: Iterable[int],
    days: Sequence[int] | None = None,
    seasons: Seasons | None = None,
    *,
    blind: float = 0.0,
    seed: int = 0,
) -> Asked:
    """Ask for forecasts of every series that had any spending in the year before.

    Parameters
    ----------
    series
        Whose and of what.
    months
        Which of its months, each with a year before it.
    days
        Days of the month, those beyond its end taken for its last; three at random for each series if None.
    seasons
        By `seasons_of`, of other owners or of the past.
    blind
        Share of forecasts that are asked for without knowing how far the months before had come by the day.
    seed
        Of days and blindness.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for month in months:
        start = series.first + month
        length = int(((start + 1).astype("datetime64[D]") - start.astype("datetime64[D]")).astype(np.int64))
        before = series.totals[:, max(0, month - MONTHS) : month]
        rows = np.flatnonzero((before[:, -YEAR:] != 0).any(axis=1))
        history = np.full((len(rows), MONTHS), np.nan)
        history[:, MONTHS - before.shape[1] :] = before[rows]
        of_year = int(start.astype(np.int64)) % 12 + 1
        season = np.array(
            [(seasons or {}).get(name, _UNKNOWN)[of_year - 1] for name in series.categories[rows].tolist()]
        )
        chosen = rng.integers(0, length, (DAYS_AT_RANDOM, len(rows))) if days is None else [[day] for day in days]
        for day in chosen:
            at = np.minimum(np.broadcast_to(day, len(rows)), length).astype(np.int64)
            by_day = series.spent[rows[:, None], np.arange(month - YEAR, month)[None, :], at[:, None]]
            by_day[rng.random(len(rows)) < blind] = np.nan
            moment = Moment(
                history=history,
                spent=series.spent[rows, month, at],
                day=at,
                days=np.full(len(rows), length),
                month=np.full(len(rows), of_year),
                by_day=by_day,
                season=season.astype(np.float64),
            )
            parts.append(Asked(moment, guess(moment), series.totals[rows, month], rows, np.full(len(rows), month)))
    return joined(parts)


def joined(parts: Sequence[Asked]) -> Asked:
    """Return several lots of forecasts as one."""
    return Asked(
        concatenated([part.moment for part in parts]),
        concatenated([part.guess for part in parts]),
        np.concatenate([part.total for part in parts]),
        np.concatenate([part.series for part in parts]),
        np.concatenate([part.month for part in parts]),
    )


def seasons_of(series: Series, months: Iterable[int]) -> dict[str, list[float]]:
    """Return what each month of the year comes to, per category, in usual months of the year before it.

    Parameters
    ----------
    series
        Whose and of what.
    months
        Those to learn from, each with a year before it.

    Returns
    -------
    dict of str to list of 12 float
        From January; NaN where fewer than `LEAST_COUNTED` months were seen.
    """
    sums: dict[str, Floats] = {}
    totals = series.totals
    for month in months:
        usual = np.abs(totals[:, month - YEAR : month]).mean(axis=1)
        of_year = (int(series.first.astype(np.int64)) + month) % 12
        for name in np.unique(series.categories).tolist():
            mine = (series.categories == name) & (usual > 0)
            # a series of one purchase a year would say that every other month is empty
            ratio = np.minimum(totals[mine, month] / usual[mine], 12.0)
            weight = np.minimum(usual[mine], np.median(usual[mine]) * 3 if mine.any() else 0.0)
            added = sums.setdefault(name, np.zeros((3, 12)))
            added[:, of_year] += (ratio @ weight, weight.sum(), mine.sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            name: np.where(counted[2] >= LEAST_COUNTED, counted[0] / counted[1], np.nan).round(4).tolist()
            for name, counted in sums.items()
        }
