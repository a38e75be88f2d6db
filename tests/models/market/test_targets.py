import numpy as np
import pytest

from models.market.alerts import HORIZONS_H, LABELS, QUESTIONS, bounds_of, severities
from models.market.state import REGIMES, state_of
from models.market.targets import outcomes
from models.market.windows import LOOKBACK_H, Floats, returns_of
from tests.models.market.markets import walk, with_gaps

AT = np.arange(167, 700, 7)


@pytest.fixture(scope="module")
def prices() -> Floats:
    chance = np.random.default_rng(3)
    common = np.where(np.arange(800) // 50 % 2, 0.9, 0.3)[:, None]
    wild = np.where(np.arange(800) // 90 % 2, 0.02, 0.007)[:, None]
    hourly = wild * (
        np.sqrt(common) * chance.normal(size=(800, 1)) + np.sqrt(1 - common) * chance.normal(size=(800, 4))
    )
    return with_gaps(np.exp(np.cumsum(hourly, axis=0)), 0.01)


def plainly(prices: np.ndarray, at: int) -> tuple[list[bool], list[bool]]:
    """Return what happened and what held already, written out for one hour after the definitions."""
    filled = prices[at - 167 : at + 49].copy()
    for asset in filled.T:
        for hour in range(1, len(asset)):
            asset[hour] = asset[hour - 1] if np.isnan(asset[hour]) else asset[hour]
        asset[np.isnan(asset)] = asset[~np.isnan(asset)][0]
    hourly = np.diff(np.log(filled), axis=0)  # 167 up to the hour, 48 after it
    hourly = hourly / np.sqrt((hourly[:167] ** 2).mean(axis=0))
    pairs = [(i, j) for i in range(hourly.shape[1]) for j in range(i)]

    def together(some: np.ndarray) -> float:
        covariance = np.mean([(some[:, i] * some[:, j]).mean() for i, j in pairs])
        return float(covariance / (some**2).mean())

    usual = together(hourly[:167])
    days = [hourly[167 - 24 + hour : 167 + hour] for hour in range(49)]
    volatility = [float(np.sqrt((day**2).mean())) for day in days]
    spike = [(together(day) - usual) >= 0.4 * (1 - usual) for day in days]
    breakdown = [(usual - together(day)) >= usual / 3 for day in days]
    burst = [value >= 1.5 for value in volatility]

    def regime(hour: int) -> str:
        if volatility[hour] < 0.6:
            return "calm"
        if volatility[hour] < 1.5:
            return "ordinary"
        return "stressed" if together(days[hour]) >= usual else "dispersed"

    held = {"SPIKE_LIKELY": spike, "CORRELATION_BREAKDOWN": breakdown, "VOLATILITY_SPIKE_IMMINENT": burst}
    happened = [any(held[alert][1 : h + 1]) if alert in held else regime(h) != regime(0) for alert, h in QUESTIONS]
    return happened, [held[alert][0] if alert in held else False for alert, _ in QUESTIONS]


def test_outcomes_are_what_the_definitions_say(prices: Floats) -> None:
    found = outcomes(prices, AT)
    written = [plainly(prices, at) for at in AT.tolist()]
    np.testing.assert_array_equal(found.happened, [happened for happened, _ in written])
    np.testing.assert_array_equal(found.already, [already for _, already in written])
    assert (found.happened.mean(axis=0) > 0).all() and (found.happened.mean(axis=0) < 1).all()


def test_what_is_measured_now_knows_nothing_of_the_future(prices: Floats) -> None:
    now = 500
    before = outcomes(prices, np.array([now]))
    other = prices.copy()
    other[now + 1 :] = np.exp(np.random.default_rng(9).normal(size=other[now + 1 :].shape))
    after = outcomes(other, np.array([now]))
    np.testing.assert_array_equal(after.already, before.already)
    np.testing.assert_array_equal(after.reading, before.reading)
    np.testing.assert_array_equal(after.regime, before.regime)
    assert not np.array_equal(after.happened, before.happened)


@pytest.mark.parametrize("horizon", HORIZONS_H)
def test_an_outcome_looks_as_far_as_its_horizon_and_no_further(prices: Floats, horizon: int) -> None:
    now = 500
    mine = [k for k, (_, h) in enumerate(QUESTIONS) if h <= horizon]
    before = outcomes(prices, np.array([now])).peak[:, mine]
    other = prices.copy()
    other[now + horizon + 1 :] *= np.exp(np.random.default_rng(9).normal(size=other[now + horizon + 1 :].shape))
    np.testing.assert_array_equal(outcomes(other, np.array([now])).peak[:, mine], before)


def test_events_within_a_horizon_are_within_every_longer_one(prices: Floats) -> None:
    happened = outcomes(prices, AT).happened.reshape(len(AT), 4, 4)
    nested = happened[:, [LABELS[4 * k].split("@")[0] != "REGIME_CHANGE_PENDING" for k in range(4)]]
    assert (nested[:, :, :-1] <= nested[:, :, 1:]).all()


def test_persistence_expects_what_holds_or_has_just_changed(prices: Floats) -> None:
    found = outcomes(prices, AT)
    for column, (alert, horizon) in enumerate(QUESTIONS):
        if alert != "REGIME_CHANGE_PENDING":
            np.testing.assert_array_equal(found.persisted[:, column], found.already[:, column])
            continue
        rows = np.flatnonzero(found.persisted[:, column])
        assert 0 < len(rows) < len(AT), horizon
        assert not found.already[:, column].any()


def test_a_burst_is_seen_coming_by_the_horizons_that_reach_it() -> None:
    prices = walk(600)
    moves = np.diff(np.log(prices), axis=0, prepend=np.log(prices[:1]))
    moves[400:] *= 20  # from hour 400 on
    found = outcomes(np.exp(np.cumsum(moves, axis=0)), np.array([340, 360, 380, 390, 397]))
    burst = [found.happened[:, LABELS.index(f"VOLATILITY_SPIKE_IMMINENT@{h}h")].tolist() for h in HORIZONS_H]
    assert burst[3] == [False, True, True, True, True]
    assert burst[1][:3] == [False, False, False] and burst[1][4]
    assert burst[0][4] and not any(burst[0][:4])


def test_regimes_are_named_after_volatility_and_comovement() -> None:
    prices = walk(LOOKBACK_H, seed=5)
    moves = np.diff(np.log(prices), axis=0, prepend=np.log(prices[:1]))

    def regime(day: np.ndarray) -> str:
        changed = moves.copy()
        changed[-24:] = day
        state = state_of(returns_of(np.exp(np.cumsum(changed, axis=0))[None]))
        return REGIMES[int(state.regime[0])]

    one, each = 0.03 * np.sign(moves[-24:, :1]), 0.03 * np.random.default_rng(0).normal(size=(24, 5))
    assert regime(moves[-24:] / 5) == "calm"
    assert regime(moves[:24]) == "ordinary"
    assert regime(np.repeat(one, 5, axis=1)) == "stressed"
    assert regime(each) == "dispersed"


def test_an_hour_without_48_after_it_is_refused(prices: Floats) -> None:
    with pytest.raises(ValueError, match="expected hours with 48 more after them, up to 751, got 752"):
        outcomes(prices, np.array([752]))


def test_severity_begins_at_each_alerts_own_bounds() -> None:
    probabilities = np.full((3, 16), 0.5)
    probabilities[1], probabilities[2] = 0.82, 0.96
    levels = dict(zip(LABELS, severities(probabilities, bounds_of()).T.tolist(), strict=True))
    assert levels["SPIKE_LIKELY@4h"] == [0, 1, 2]
    assert levels["REGIME_CHANGE_PENDING@24h"] == [0, 2, 2]
    assert levels["CORRELATION_BREAKDOWN@12h"] == [0, 1, 2]
    assert levels["VOLATILITY_SPIKE_IMMINENT@48h"] == [0, 1, 2]
