import numpy as np
import pytest

from models.market.features import CONTEXT, NAMES, features, rolling
from models.market.windows import LOOKBACK_H, Floats
from tests.models.market.markets import walk, with_gaps
from tests.timing import best_of


@pytest.fixture(scope="module")
def prices() -> Floats:
    return with_gaps(walk(1500))


AT = np.array([167, 168, 200, 400, 1023, 1100, 1499])


def test_there_are_eighteen_and_the_last_four_are_given() -> None:
    assert len(NAMES) == 18 and CONTEXT == ("fear_greed", "funding_rate", "sentiment", "decision_confidence")


def test_a_window_alone_and_a_rolling_history_give_the_same_numbers(prices: Floats) -> None:
    context = np.random.default_rng(0).random((len(prices), 4))
    together = rolling(prices, np.arange(167, 1500), context)
    for at in AT:
        alone = features(prices[at - LOOKBACK_H + 1 : at + 1][None], context[at][None])[0]
        np.testing.assert_allclose(together[at - 167], alone, rtol=1e-6, atol=1e-7)


def test_features_do_not_move_when_the_future_does(prices: Floats) -> None:
    now = 700
    before = rolling(prices, np.arange(167, now + 1))
    for future in (np.nan, 1e-6, 1e9, prices[now + 1 :][::-1]):
        other = prices.copy()
        other[now + 1 :] = future
        np.testing.assert_array_equal(rolling(other, np.arange(167, now + 1)), before)
    np.testing.assert_array_equal(rolling(prices[: now + 1], np.arange(167, now + 1)), before)
    changed = prices.copy()
    changed[now] *= np.linspace(1.01, 1.2, prices.shape[1])
    assert not np.array_equal(rolling(changed, np.array([now])), before[-1:])  # the last close does count


def test_features_know_nothing_from_before_the_week(prices: Floats) -> None:
    other = prices.copy()
    other[: 700 - LOOKBACK_H + 1] *= 3
    np.testing.assert_array_equal(rolling(other, np.array([700])), rolling(prices, np.array([700])))


def test_the_unit_of_prices_and_the_order_of_small_assets_do_not_matter(prices: Floats) -> None:
    plain = rolling(prices, AT)
    np.testing.assert_allclose(rolling(prices * [1e-4, 3, 7, 1e5, 1], AT), plain, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rolling(prices[:, [0, 1, 4, 2, 3]], AT), plain, rtol=1e-4, atol=1e-5)


def test_more_volatile_prices_change_the_level_of_volatility_and_nothing_else(prices: Floats) -> None:
    plain, wilder = rolling(prices, AT), rolling(prices**2, AT)
    level = NAMES.index("realised_volatility")
    np.testing.assert_allclose(wilder[:, level] - plain[:, level], np.log(2), rtol=1e-5)
    np.testing.assert_allclose(np.delete(wilder, level, 1), np.delete(plain, level, 1), rtol=1e-4, atol=1e-5)


def test_features_say_what_they_are_named_after() -> None:
    chance = np.random.default_rng(1)
    hourly = 0.01 * (0.8 * chance.normal(size=(LOOKBACK_H, 1)) + 0.6 * chance.normal(size=(LOOKBACK_H, 6)))
    hourly[-24:] *= 3
    hourly[-24:, :2] = np.abs(hourly[-24:, :2])
    found = dict(zip(NAMES, features(np.exp(np.cumsum(hourly, axis=0))[None])[0].tolist(), strict=True))
    assert found["volatility_momentum_1d"] > 0.4
    assert found["large_alt_spread"] > 0.5
    assert found["skew"] > 0.1
    assert 0.3 < found["systemic_concentration"] < 0.9
    assert found["realised_volatility"] == pytest.approx(np.log(0.015), abs=0.3)


def test_what_is_not_given_is_missing_and_the_rest_is_there(prices: Floats) -> None:
    table = rolling(prices, AT)
    assert np.isnan(table[:, 14:]).all() and np.isfinite(table[:, :14]).all()
    given = rolling(prices, AT, np.tile([30.0, np.nan, 0.5, np.nan], (len(prices), 1)))
    assert given[0, 14:].tolist()[::2] == [30.0, 0.5] and np.isnan(given[0, [15, 17]]).all()


def test_a_market_that_stands_still_has_no_correlations_and_raises_nothing() -> None:
    table = features(np.full((2, LOOKBACK_H, 3), 7.0))
    assert np.isnan(table[:, NAMES.index("correlation_1d")]).all()
    assert np.isfinite(table[:, NAMES.index("realised_volatility")]).all()
    assert not np.isinf(table).any()
    one_moves = np.full((1, LOOKBACK_H, 3), 7.0)
    one_moves[0, ::2, 1] = 8.0
    assert not np.isinf(features(one_moves)).any()


def test_an_hour_without_a_week_before_it_is_refused(prices: Floats) -> None:
    with pytest.raises(ValueError, match="expected hours from 167 to 1499, got 166"):
        rolling(prices, np.array([166]))
    assert rolling(prices, np.array([], np.int64)).shape == (0, 18)


def test_a_window_takes_milliseconds(prices: Floats) -> None:
    window = prices[:LOOKBACK_H][None]
    features(window)
    assert best_of(20, lambda: features(window)) < 0.01  # 0.35 ms on an idle core
