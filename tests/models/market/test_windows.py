import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.market.windows import LOOKBACK_H, bridged, comovement, returns_of
from tests.models.market.markets import walk, with_gaps


def test_a_missing_close_is_the_one_before_it() -> None:
    window = np.array([[np.nan, 1.0], [2.0, np.nan], [np.nan, np.nan], [4.0, 3.0]])[None]
    assert bridged(window)[0].tolist() == [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [4.0, 3.0]]
    assert np.isnan(window).sum() == 4  # what came in is left as it was


def test_a_gap_loses_no_movement() -> None:
    prices = walk(LOOKBACK_H)
    holed = prices.copy()
    holed[50:53, 2] = np.nan
    whole, bridging = (returns_of(window[None]) for window in (prices, holed))
    moved = (bridging.scaled * bridging.scale[:, None])[0, :, 2]
    assert moved[49:52].tolist() == [0, 0, 0]
    assert moved.sum() == pytest.approx((whole.scaled * whole.scale[:, None])[0, :, 2].sum())


def test_each_asset_is_on_its_own_scale() -> None:
    prices = walk(LOOKBACK_H)
    wild = prices.copy()
    wild[:, 3] = wild[:, 3] ** 5  # the same path, five times as volatile
    calm, scaled = returns_of(prices[None]), returns_of(wild[None])
    np.testing.assert_allclose(scaled.scaled, calm.scaled)
    assert scaled.scale[0, 3] == pytest.approx(5 * calm.scale[0, 3])


@pytest.mark.parametrize("hours", [1, 2, 24])
@pytest.mark.parametrize("assets", [3, 13])
def test_comovement_is_one_for_all_as_one_and_none_on_average_for_strangers(hours: int, assets: int) -> None:
    chance = np.random.default_rng(0)
    own = chance.normal(size=(4000, hours, assets))
    assert comovement(np.repeat(own[..., :1], assets, axis=-1)) == pytest.approx(1.0)
    assert abs(comovement(own).mean()) < 0.05
    opposed = own - own.mean(axis=-1, keepdims=True)
    assert comovement(opposed) == pytest.approx(-1 / (assets - 1))


def test_comovement_of_what_does_not_move_is_not_a_number() -> None:
    assert np.isnan(comovement(np.zeros((24, 4))))


@given(arrays(np.float64, (6, 4), elements=st.floats(-9, 9).map(lambda x: round(x, 3))))
def test_comovement_stays_within_its_bounds(scaled: npt.NDArray[np.float64]) -> None:
    found = comovement(scaled)
    assert np.isnan(found) or -1 / 3 - 1e-9 <= found <= 1 + 1e-9


def test_windows_with_gaps_give_finite_returns() -> None:
    assert np.isfinite(returns_of(with_gaps(walk(LOOKBACK_H))[None]).scaled).all()
