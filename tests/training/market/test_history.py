import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.market.checks import MEASURES
from models.market.windows import LOOKBACK_H, Floats
from training.market.history import History
from training.market.recorded import PRICES, read
from training.market.release import FEW_H, find_usual
from training.market.rows import find_extremes
from training.market.synthetic import Synthesis, generate

FOLDER = Path(os.environ.get("MARINA_RECORDED_DATA", "")) / "market"


def spoilt(how: Callable[[Floats], object]) -> History:
    """Return a synthetic market without gaps, after something was done to its prices."""
    history = generate(Synthesis(hours=1200, assets=4))
    prices = np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, history.prices.shape), axis=0))
    how(prices)
    return replace(history, prices=prices)


def test_all_hours_of_a_sound_market_are_learned_from() -> None:
    history = spoilt(lambda prices: None)
    assert history.hours().tolist() == list(range(167, 1152)) and history.left_out() == ""


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda prices: prices.__setitem__(np.s_[600:620, 2], prices[600, 2]), "still_h"),
        (lambda prices: prices.__setitem__(np.s_[600:, 1], prices[600:, 1] * 1000), "largest_move"),
        (lambda prices: prices.__setitem__(np.s_[600:624], prices[576:600]), "repeated_h"),
        (lambda prices: prices.__setitem__(np.s_[600, 3], prices[600, 3] / 10), "largest_move"),
    ],
)
def test_no_hour_is_learned_from_whose_week_or_outcome_is_impossible(
    spoil: Callable[[Floats], object], reason: str
) -> None:
    history = spoilt(spoil)
    hours = history.hours()
    assert not ((hours >= 625) & (hours < 625 + 100)).any()  # a week that has it
    assert not ((hours >= 600 - 20) & (hours < 600)).any()  # an outcome that would be it
    assert {500, 1000} <= set(hours.tolist())
    assert reason in history.left_out() and "hours are not learned from" in history.left_out()


def test_a_gap_is_learned_from_while_it_is_short_and_not_at_the_end() -> None:
    short = spoilt(lambda prices: prices.__setitem__(np.s_[600:605, 2], np.nan))
    assert set(range(167, 1152)) - set(short.hours().tolist()) == {600, 601, 602, 603, 604}
    long = spoilt(lambda prices: prices.__setitem__(np.s_[600:620, 2], np.nan))
    assert not set(range(600, 700)) & set(long.hours().tolist())


def test_what_is_usual_is_what_was_learned_from() -> None:
    history = generate(Synthesis(hours=1200, assets=4))
    at = history.hours(4)
    usual = find_usual(find_extremes(history, at))
    assert set(usual) <= {*MEASURES, "fear_greed", "funding_rate", "sentiment", "decision_confidence"}
    missing = np.isnan(history.prices[at[:, None] - np.arange(LOOKBACK_H)]).sum(axis=1).max()
    assert usual["missing_h"] == (None, max(missing, FEW_H)) and usual["age_h"] == (None, 0)
    assert usual["rising_share"][0] is not None and usual["largest_move"][0] is None
    assert usual["funding_rate"] == (history.context[at, 1].min(), history.context[at, 1].max())
    never = replace(history, context=np.full_like(history.context, np.nan))
    assert "fear_greed" not in find_extremes(never, at)


@pytest.mark.skipif(not (FOLDER / PRICES).exists(), reason="no recorded data: MARINA_RECORDED_DATA names no market")
def test_no_sound_hour_of_the_recorded_market_is_left_out() -> None:
    history, faults = read(FOLDER)
    at = np.arange(LOOKBACK_H - 1, len(history) - 48, 4)
    closed = ~np.isnan(history.prices[at]).any(axis=1)
    assert not faults and history.hours(4).tolist() == at[closed].tolist()
