import numpy as np
import pytest

from models.market.features import CONTEXT, NAMES, rolling
from models.market.targets import outcomes
from training.data.manifest import of_arrays
from training.market.history import History
from training.market.synthetic import Synthesis, generate


@pytest.fixture(scope="module")
def history() -> History:
    return generate(Synthesis(hours=5000))


def test_equal_options_give_equal_bytes_and_another_seed_another_market() -> None:
    few = [of_arrays(generate(Synthesis(400, 4, seed)).arrays(), "a").sha256 for seed in (1, 1, 2)]
    assert few[0] == few[1] != few[2]


def test_volatility_clusters_and_tails_are_heavy(history: History) -> None:
    moves = np.diff(np.log(history.prices[:, 0]))
    moves = moves[np.isfinite(moves)]
    assert ((moves / moves.std()) ** 4).mean() > 6  # a normal distribution has 3
    size = np.abs(moves)
    assert np.corrcoef(size[:-1], size[1:])[0, 1] > 0.15
    assert np.corrcoef(size[:-24], size[24:])[0, 1] > 0.05
    assert abs(np.corrcoef(moves[:-1], moves[1:])[0, 1]) < 0.08  # and where prices go is not foretold


def test_correlation_changes_over_time(history: History) -> None:
    correlation = rolling(history.prices, history.hours(24))[:, NAMES.index("correlation_1d")]
    assert np.quantile(correlation, 0.1) < 0.5 and np.quantile(correlation, 0.9) > 0.75


def test_hours_are_missing_of_all_assets_and_of_one(history: History) -> None:
    missing = np.isnan(history.prices)
    assert missing.all(axis=1).any() and (missing.sum(axis=1) == 1).any()
    assert missing.mean() < 0.01


def test_every_event_happens_and_none_always(history: History) -> None:
    happened = outcomes(history.prices, history.hours(6)).happened.mean(axis=0)
    assert (happened > 0.02).all() and (happened < 0.75).all()


def test_what_is_known_beside_prices_is_known_in_time(history: History) -> None:
    index, funding, sentiment, confidence = history.context.T
    assert CONTEXT[0] == "fear_greed" and np.isnan(index[:23]).all() and np.isfinite(index[23:]).all()
    # the index of a day enters at its end, and stays for a day
    changes = np.flatnonzero(np.diff(index[23:]) != 0) + 24
    assert {int(hour) for hour in history.times[changes].astype(np.int64) % 24} == {0}
    assert np.abs(funding).max() < 0.01
    for opinion, low in ((sentiment, -1), (confidence, 0)):
        assert 0.2 < np.isfinite(opinion).mean() < 0.95
        assert np.nanmin(opinion) >= low and np.nanmax(opinion) <= 1


def test_hours_to_learn_from_have_a_week_before_them_and_two_days_after() -> None:
    at = generate(Synthesis(hours=500)).hours()
    assert at[0] >= 167 and at[-1] <= 500 - 49


def test_impossible_markets_are_refused() -> None:
    with pytest.raises(ValueError, match="3 to 12 assets"):
        generate(Synthesis(assets=13))


def test_a_history_needs_bitcoin_ether_and_every_hour() -> None:
    history = generate(Synthesis(hours=300, assets=3))
    with pytest.raises(ValueError, match="expected BTC, ETH and at least one more"):
        History(history.times, ("ETH", "BTC", "X"), history.prices, history.context)
    with pytest.raises(ValueError, match="without a break"):
        History(history.times[::2], history.assets, history.prices[::2], history.context[::2])
