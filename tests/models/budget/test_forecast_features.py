from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.budget.forecast_features import FEATURES, MONTHS, Moment, concatenated, guess, scales

RENT, GROCERIES = np.full(MONTHS, 800.0), 300 + 60 * np.sin(np.arange(MONTHS) * 2.4)


def moment(months: Any = GROCERIES, spent: float = 120.0, day: int = 12, by_day: Any = None, **changed: Any) -> Moment:
    """Return one series in November."""
    history = np.full(MONTHS, np.nan)
    history[MONTHS - len(months) :] = months
    by_day = 0.4 * history[-12:] if by_day is None else np.asarray(by_day, np.float64)
    one = Moment(
        history[None],
        np.array([spent]),
        np.array([day]),
        np.array([30]),
        np.array([11]),
        by_day[None],
        np.array([np.nan]),
    )
    return replace(one, **changed)


def value(one: Moment) -> dict[str, float]:
    return dict(zip(FEATURES, guess(one).rows[0].tolist(), strict=True))


def test_rent_that_is_paid_is_not_expected_again_and_rent_that_is_not_is() -> None:
    late = np.where(np.arange(12) % 2, 800.0, 0.0)  # in half of the months it had come by this day
    paid, unpaid = (guess(moment(RENT, spent, 3, late)) for spent in (800.0, 0.0))
    assert paid.base[0] == pytest.approx(800, abs=1) and unpaid.base[0] == pytest.approx(800, abs=1)
    assert paid.noise[0] < 10


def test_groceries_go_on_from_what_has_been_spent() -> None:
    little, much = (guess(moment(spent=spent)).base[0] for spent in (60.0, 240.0))
    assert 100 < much - little < 180  # a month that began dear ends dearer, though not by as much


def test_without_earlier_days_the_rest_of_the_month_takes_its_share_of_days() -> None:
    for known in (0, 1, 5):
        by_day = np.where(np.arange(12) < 12 - known, np.nan, 120.0)
        some = guess(moment(by_day=by_day))
        assert np.isnan(dict(zip(FEATURES, some.rows[0].tolist(), strict=True))["rest_last_year"])
        assert 0.5 * 300 < some.base[0] < 1.5 * 300


def test_on_the_last_day_a_month_is_what_has_been_spent() -> None:
    known = guess(moment(spent=251.0, day=30))
    assert known.base[0] == pytest.approx(251, rel=0.01)
    assert known.noise[0] < 0.02 * 300


def test_a_forecast_is_never_below_what_has_been_spent() -> None:
    known = guess(moment(spent=900.0))
    assert (known.euros(np.array([[-9.0, -1.0, 0.0]])) >= 900).all()


def test_answers_and_euros_are_inverse() -> None:
    known = guess(moment())
    euros = np.array([known.spent[0] + 411.0])
    assert known.euros(known.answers(euros)[:, None])[0, 0] == pytest.approx(euros[0])


def test_a_series_that_was_empty_for_a_year_is_answered() -> None:
    for spent in (0.0, 75.0):
        known = guess(moment(np.zeros(24), spent))
        assert np.isfinite(known.base).all() and (known.noise > 0).all()
        assert known.base[0] == pytest.approx(spent, abs=1)
    assert scales(moment(np.zeros(24), 75.0))[0] == 75


def test_what_has_changed_for_good_is_guessed_from_few_months() -> None:
    step = np.where(np.arange(MONTHS) < 18, 100.0, 400.0) + np.tile([-4.0, 4.0], 12)
    assert step[-12:].mean() < 260
    assert 340 < guess(moment(step, 0.0, 0, np.zeros(12))).base[0] < 410
    noisy = np.random.default_rng(0).normal(300, 60, MONTHS)
    assert guess(moment(noisy, 0.0, 0, np.zeros(12))).base[0] == pytest.approx(noisy[-12:].mean(), rel=0.1)


def test_twelve_months_are_enough() -> None:
    short = value(moment(GROCERIES[-12:]))
    assert np.isnan(short["same_month_two_years_ago"]) and not np.isnan(short["same_month_last_year"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e4, 1e4).map(lambda x: round(x, 2)), min_size=24, max_size=24),
    st.floats(0, 1e4),
    st.integers(0, 30),
    st.floats(0.01, 100),
)
def test_features_have_no_currency_and_are_finite_where_everything_is_known(
    months: list[float], spent: float, day: int, rate: float
) -> None:
    if np.abs(months[-12:]).mean() < 1:
        months[-1] = 500.0
    one = moment(np.array(months), spent, day, season=np.array([1.1]))
    other = replace(one, history=one.history * rate, spent=one.spent * rate, by_day=one.by_day * rate)
    known, converted = guess(one), guess(other)
    assert np.isfinite(known.rows).all()
    np.testing.assert_allclose(converted.rows, known.rows, atol=1e-2, rtol=1e-3)
    np.testing.assert_allclose(converted.base, known.base * rate, rtol=1e-6, atol=1e-6)


def test_rows_do_not_depend_on_their_neighbours() -> None:
    chance = np.random.default_rng(0)
    rows = [moment(), moment(RENT, 800.0, 3), moment(np.zeros(24), 0.0), moment(by_day=np.full(12, np.nan))]
    rows += [moment(chance.gamma(1, 100, MONTHS).round(2), day=int(day)) for day in chance.integers(0, 31, 60)]
    together = concatenated(rows)
    for at, one in enumerate(rows):
        assert np.array_equal(guess(together).rows[at], guess(one).rows[0], equal_nan=True)
        few = guess(together.select(slice(max(0, at - 4), at + 1)))  # to the last bit, whatever the number of rows
        assert np.array_equal(few.rows[-1], guess(one).rows[0], equal_nan=True)
