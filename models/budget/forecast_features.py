"""What a month's spending so far, and the months before it, say about its end: features without a currency.

A row is one series (a category of one household) at the end of one day of one month. What is still to come is first
guessed in six ways: a whole month as the last twelve, three or one were, less what has been spent; or what came after
this day in the last twelve, three or one. Rent makes the former good, groceries the latter, and what changes for good
is best estimated from few months. Each guess weighs as it would have been right in the months before, and the best
one's error is the series' noise. The model then says how far off the guess is, in units of that noise: one answer
serves rent and holidays, euros and pounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.budget.robust import Floats, mean, median, variance

Ints = NDArray[np.int64]

MONTHS: Final = 24
"""Months of history that are looked at: two of each month of the year."""

YEAR: Final = 12
"""Months of history that must be known, and months whose spending by the same day is looked at."""

LOOKBACKS: Final = (YEAR, 3, 1)
"""Months that a guess is the mean of; the first is the year."""

LEAST_NOISE: Final = 0.01
"""Of a usual month: no series is so regular that it is not off by this much."""

FEATURES: Final = (
    "last_month",
    "mean_3",
    "median_12",
    "low_12",
    "high_12",
    "trend_12",
    "empty_months_12",
    "months_since_spending",
    "same_month_last_year",
    "same_month_two_years_ago",
    "same_month_of_others",
    "month_sine",
    "month_cosine",
    "month_days",
    "progress",
    "days_left",
    "spent",
    "noise",
    "noise_of_total",
    "noise_of_rest",
    "nothing_more",
    "total_or_rest",
    "spent_vs_usual",
    "lately_or_always",
    "spent_over_highest",
    "total_last_month",
    "total_last_3",
    "total_median",
    "total_last_year",
    "total_of_others",
    "rest_last_month",
    "rest_last_3",
    "rest_median",
    "rest_last_year",
)
"""Names in the order of the columns; docs/families/budget.md defines them one by one."""

_FAR = 50.0


@dataclass(frozen=True)
class Moment:
    """N series, each at the end of a day of a month under way.

    Attributes
    ----------
    history
        float64 [N, 24], totals of the months before in euros, oldest first; NaN before a series begins, and never in
        the last 12. Spending is positive; of income, too, what comes in.
    spent
        float64 [N], euros this month up to and with `day`.
    day, days
        int64 [N], day of the month (0: before it begins) and number of its days.
    month
        int64 [N], 1 to 12.
    by_day
        float64 [N, 12], euros up to the same day in each of the last 12 months, oldest first; NaN if not known.
    season
        float64 [N], what others pay in this month of the year for the like, in usual months; NaN if not known.
    """

    history: Floats
    spent: Floats
    day: Ints
    days: Ints
    month: Ints
    by_day: Floats
    season: Floats

    def __len__(self) -> int:
        return len(self.spent)

    def select(self, rows: NDArray[Any] | slice) -> Moment:
        """Return some of the series."""
        return Moment(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class Guess:
    """What a model's answer is measured from, and its features.

    Attributes
    ----------
    rows
        float32 [N, F]; NaN where what a feature needs is not known.
    base
        float64 [N], euros of the whole month by the first guess.
    noise
        float64 [N], euros that the guess is usually off by; above zero.
    spent
        float64 [N], euros of the month so far.
    """

    rows: NDArray[np.float32]
    base: Floats
    noise: Floats
    spent: Floats

    def euros(self, answers: NDArray[Any]) -> Floats:
        """Return a model's answers [N, K] as euros of the whole month: never less than has been spent already."""
        whole = self.base[:, None] + self.noise[:, None] * np.sinh(answers.astype(np.float64))
        return np.maximum(whole, self.spent[:, None])

    def answers(self, euros: Floats) -> Floats:
        """Return euros of the whole month [N] as a model should have answered.

        The inverse hyperbolic sine is the number itself near zero and a logarithm far off: a rent that doubles is a
        hundred noises away. Percentiles are the same on either scale.
        """
        off: Floats = np.arcsinh((euros - self.base) / self.noise)
        return off

    def select(self, rows: NDArray[Any] | slice) -> Guess:
        """Return some of the guesses."""
        return Guess(self.rows[rows], self.base[rows], self.noise[rows], self.spent[rows])


Lot = TypeVar("Lot", Moment, Guess)


def concatenated(lots: Sequence[Lot]) -> Lot:
    """Return several lots of series, or of guesses, as one."""
    if len(lots) == 1:
        return lots[0]
    kind = type(lots[0])
    return kind(**{name: np.concatenate([getattr(one, name) for one in lots]) for name in kind.__dataclass_fields__})


def scales(moment: Moment) -> Floats:
    """Return the size of each series' usual month in euros, float64 [N], above zero.

    The mean size of the last twelve; where they are empty, what has been spent this month; else 1.
    """
    usual = np.add.reduce(np.abs(moment.history[:, -YEAR:]), axis=1) / YEAR
    size = np.abs(moment.spent)
    started = np.where(size > 0.005, size, 1.0)
    scale: Floats = np.where(usual > 0.005, usual, started)
    return scale


@dataclass(frozen=True)
class _Series:
    """N series in units of each one's usual month.

    Attributes
    ----------
    past, year
        float64 [N, 24] and [N, 12], the months before, oldest first.
    spent
        float64 [N], this month so far.
    by_day
        float64 [N, 12], up to the same day in each month of the year before; NaN if not known.
    progress
        float64 [N], the share of the month's days that are over.
    observed_rest
        float64 [N, 12], what came after that day in each month of the year before; NaN if not known.
    rest
        float64 [N, 12], the same, and the share of its days where it is not known.
    """

    past: Floats
    year: Floats
    spent: Floats
    by_day: Floats
    progress: Floats
    observed_rest: Floats
    rest: Floats


@dataclass(frozen=True)
class _LevelGuesses:
    """Six guesses of what is still to come, by whole months and by rests of months, each by the three lookbacks.

    Attributes
    ----------
    months
        float64 [N, 3], the mean month of each lookback.
    guesses
        float64 [N, 6], first those by whole months.
    variances
        float64 [N, 6], the squares that each is usually off by.
    noises, noise
        float64 [N, 2] and [N], what the best guess of each kind, and the best of all, is usually off by.
    first
        float64 [N], their weighted mean: the first guess of what is still to come.
    """

    months: Floats
    guesses: Floats
    variances: Floats
    noises: Floats
    noise: Floats
    first: Floats


def guess(moment: Moment) -> Guess:
    """Guess each series' month and describe it; about 0.1 ms, and 3 µs a series.

    Parameters
    ----------
    moment : Moment
    """
    scale = scales(moment)
    series = _scale(moment, scale)
    levels = _level_guesses(series)
    median_month, median_rest = median(np.concatenate([series.year, series.observed_rest])).reshape(2, -1)
    columns = {
        **_past_columns(moment, series, levels, median_month),
        **_progress_columns(moment, series, levels),
        **_still_to_come_columns(moment, series, levels, median_month, median_rest),
    }
    rows = np.array([columns[name] for name in FEATURES]).T
    return Guess(
        rows=np.maximum(np.minimum(rows, _FAR), -_FAR).astype(np.float32, order="C"),
        base=(series.spent + levels.first) * scale,
        noise=levels.noise * scale,
        spent=moment.spent,
    )


def _scale(moment: Moment, scale: Floats) -> _Series:
    """Return the series in units of their usual months, with what came after this day in the months before."""
    past = moment.history / scale[:, None]
    year, by_day = past[:, -YEAR:], moment.by_day / scale[:, None]
    progress = moment.day / moment.days
    # on a month's last day nothing more can come, however long the months before were
    observed_rest = (year - by_day) * (moment.day < moment.days)[:, None]
    # where it is not known how far a month had come, it takes its share of days
    rest = np.where(np.isnan(observed_rest), year * (1 - progress)[:, None], observed_rest)
    return _Series(past, year, moment.spent / scale, by_day, progress, observed_rest, rest)


def _level_guesses(series: _Series) -> _LevelGuesses:
    """Guess what is still to come in six ways, and weigh each as it would have been right in the months before."""
    (months, rests), variances = _levels(series.year, series.rest)
    # a month that is over its usual total already does not take anything back
    left = months - series.spent[:, None]
    guesses = np.concatenate([np.where((left > 0) == (months >= 0), left, 0.0), rests], axis=1)
    noises = np.sqrt(variances.reshape(len(months), 2, -1).min(axis=2))  # of the best of each kind
    noise = noises.min(axis=1)
    weights = (noise[:, None] ** 2 / variances) ** 2
    first = (weights * guesses).sum(axis=1) / weights.sum(axis=1)
    return _LevelGuesses(months, guesses, variances, noises, noise, first)


def _past_columns(moment: Moment, series: _Series, levels: _LevelGuesses, median_month: Floats) -> dict[str, Any]:
    """Return the features of the months before, and of the month of the year."""
    year, empty = series.year, series.year == 0
    average, recent = levels.months[:, 0], levels.months[:, 1]
    sine, cosine = _CIRCLE[:, moment.month - 1]
    return {
        "last_month": year[:, -1],
        "mean_3": recent,
        "median_12": median_month,
        "low_12": year.min(axis=1),
        "high_12": year.max(axis=1),
        "trend_12": _times(year - average[:, None], _SLOPE)[:, 0],
        "empty_months_12": empty.sum(axis=1) / YEAR,
        "months_since_spending": np.where(empty.all(axis=1), YEAR, empty[:, ::-1].argmin(axis=1)),
        "same_month_last_year": year[:, 0],
        "same_month_two_years_ago": series.past[:, 0],
        "same_month_of_others": moment.season,
        "month_sine": sine,
        "month_cosine": cosine,
        "month_days": moment.days,
    }


def _progress_columns(moment: Moment, series: _Series, levels: _LevelGuesses) -> dict[str, Any]:
    """Return the features of the month so far, and of how well it can be guessed."""
    usual_by_day = mean(series.by_day)
    spread_by_day = np.sqrt(variance(series.by_day, usual_by_day) + LEAST_NOISE**2)
    guesses, variances = levels.guesses, levels.variances
    return {
        "progress": series.progress,
        "days_left": moment.days - moment.day,
        "spent": series.spent,
        "noise": levels.noise,
        "noise_of_total": levels.noises[:, 0],
        "noise_of_rest": levels.noises[:, 1],
        "total_or_rest": (guesses[:, 0] - guesses[:, len(LOOKBACKS)]) / levels.noise,
        "spent_vs_usual": (series.spent - usual_by_day) / spread_by_day,
        "lately_or_always": np.log(variances[:, 1] / variances[:, 0]),
        "spent_over_highest": series.spent - np.fmax.reduce(series.by_day, axis=1),
    }


def _still_to_come_columns(
    moment: Moment, series: _Series, levels: _LevelGuesses, median_month: Floats, median_rest: Floats
) -> dict[str, Any]:
    """Return what other guesses say is still to come, in noises from the first guess."""
    year, spent, observed_rest = series.year, series.spent, series.observed_rest
    still_to_come = {
        "nothing_more": np.zeros(len(moment)),
        "total_last_month": year[:, -1] - spent,
        "total_last_3": levels.months[:, 1] - spent,
        "total_median": median_month - spent,
        "total_last_year": year[:, 0] - spent,
        "total_of_others": moment.season - spent,
        "rest_last_month": observed_rest[:, -1],
        "rest_last_3": mean(observed_rest[:, -3:]),
        "rest_median": median_rest,
        "rest_last_year": observed_rest[:, 0],
    }
    distances = (np.array([*still_to_come.values()]) - levels.first) / levels.noise
    return dict(zip(still_to_come, distances, strict=True))


def _levels(year: Floats, rest: Floats) -> tuple[Floats, Floats]:
    """Return the mean months of both kinds by each lookback, and the squares that they are usually off by.

    Returns
    -------
    levels : ndarray of float64, shape (2, N, 3)
    errors : ndarray of float64, shape (N, 6)
    """
    both = np.concatenate([year, rest])
    errors = _times(_times(both, _MISSED) ** 2, _SHARES) + LEAST_NOISE**2
    return _times(both, _MEANS).reshape(2, len(year), -1), np.concatenate(
        [errors[: len(year)], errors[len(year) :]], axis=1
    )


def _times(rows: Floats, matrix: Floats) -> Floats:
    """Return a product; each row, in C order, is the same to the last bit whatever the others are: BLAS's is not."""
    product: Floats = np.einsum("ij,jk->ik", rows, matrix)
    return product


def _mean_of(months: slice) -> Floats:
    one: Floats = np.zeros(YEAR)
    one[months] = 1 / len(one[months])
    return one


_CIRCLE = np.array([np.sin(2 * np.pi * np.arange(12) / 12), np.cos(2 * np.pi * np.arange(12) / 12)])
"""float64 [2, 12]: where each month of the year is on a circle."""

_SLOPE = (np.arange(YEAR, dtype=np.float64) - (YEAR - 1) / 2)[:, None]
_SLOPE /= (_SLOPE**2).sum()  # least squares: change per month

_MEANS = np.array([_mean_of(slice(YEAR - count, YEAR)) for count in LOOKBACKS]).T.copy()
"""float64 [12, 3]: a year's months times this are its mean months by each lookback."""

# By how much the mean of so many months missed the next one; after twelve there is none, and their mean is off by a
# twelfth more of a month that is not among them.
_MISSED_BY: list[Floats] = [(np.eye(YEAR) - 1 / YEAR) * (YEAR / (YEAR - 1))]
_MISSED_BY += [
    np.array([np.eye(YEAR)[at] - _mean_of(slice(at - count, at)) for at in range(count, YEAR)])
    for count in LOOKBACKS[1:]
]
_MISSED = np.concatenate(_MISSED_BY).T.copy()
"""float64 [12, 32]: a year's months times this are the misses of all lookbacks."""

_SHARES = np.repeat(np.eye(len(LOOKBACKS)), [*map(len, _MISSED_BY)], axis=0) / [*map(len, _MISSED_BY)]
"""float64 [32, 3]: their squares times this are the mean squares of each lookback."""
