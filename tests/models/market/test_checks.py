from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.market.checks import MEASURES, MISSING, POSSIBLE, find_impossible, measure
from models.market.windows import LOOKBACK_H, MOST_MISSING, Floats
from models.ranges import Bounds
from tests.models.market.markets import walk, with_gaps
from tests.timing import best_of


def changed(how: Callable[[Floats], object]) -> set[tuple[int, str]]:
    """Return which assets of a sound week fail which measures after a change to it."""
    window = walk(LOOKBACK_H)
    how(window)
    failed = Bounds.read(POSSIBLE, MEASURES).outside(measure(window[None])[0])
    return {(asset, MEASURES[column]) for asset, column in np.argwhere(failed).tolist()}


def put(where: Any, values: Callable[[Floats], Any]) -> Callable[[Floats], None]:
    def write(window: Floats) -> None:
        window[where] = values(window)

    return write


def volumes() -> Floats:
    traded: Floats = np.exp(np.random.default_rng(0).normal(9, 0.5, LOOKBACK_H))
    return traded


def test_a_sound_week_fails_nothing_and_gaps_of_few_hours_do_not_matter() -> None:
    windows = np.stack([walk(LOOKBACK_H, seed=seed) for seed in range(20)])
    windows[0, 20 : 20 + MOST_MISSING, 1] = np.nan
    assert not find_impossible(windows).any()


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (put(np.s_[-1, 2], lambda _: np.nan), {(2, "age_h")}),
        (put(np.s_[20:33, 1], lambda _: np.nan), {(1, "missing_h")}),
        (put(np.s_[:, 3], lambda _: np.nan), {(3, "missing_h"), (3, "age_h")}),
        (put(np.s_[-20:, 2], lambda window: window[-20, 2]), {(2, "still_h"), (2, "repeated_h")}),
        (put(np.s_[40:60, 2], lambda window: window[40, 2]), {(2, "still_h"), (2, "repeated_h")}),
        (put(np.s_[1::2, 4], lambda window: window[::2, 4]), {(4, "unmoved_h")}),
        (put(np.s_[-24:, 3], lambda window: window[-48:-24, 3]), {(3, "repeated_h")}),
        (put(np.s_[100:, 1], lambda window: window[100:, 1] * 1000), {(1, "largest_move")}),
        (put(np.s_[50, 4], lambda window: window[50, 4] / 10), {(4, "largest_move")}),
        (put(np.s_[-1, 0], lambda window: window[-1, 0] / 100), {(0, "largest_move")}),
        (put(np.s_[:, 2], lambda _: volumes()), {(2, "typical_move")}),
        (put(np.s_[:, 1], lambda _: 50.0 + np.arange(LOOKBACK_H)), {(1, "rising_share")}),
        (put(np.s_[:, 1], lambda _: 500.0 - np.arange(LOOKBACK_H)), {(1, "rising_share")}),
        (put(np.s_[:, 4], lambda window: window[:, 1]), {(1, "twin_correlation"), (4, "twin_correlation")}),
        (put(np.s_[:, 4], lambda window: window[:, 3] * 7.5), {(3, "twin_correlation"), (4, "twin_correlation")}),
        (put(np.s_[-26:, 4], lambda window: window[-26:, 3]), {(3, "twin_correlation"), (4, "twin_correlation")}),
    ],
)  # fmt: skip
def test_a_fault_is_laid_at_the_door_of_who_has_it(
    change: Callable[[Floats], None], failed: set[tuple[int, str]]
) -> None:
    assert changed(change) == failed


@pytest.mark.parametrize("hours", [np.s_[-14:], np.s_[60:80], np.s_[:]])
def test_a_feed_that_stops_is_still_in_every_asset(hours: slice) -> None:
    found = changed(put(hours, lambda window: window[hours][0]))
    assert {(asset, "still_h") for asset in range(5)} <= found


def test_hours_given_twice_are_hours_in_which_no_asset_moves() -> None:
    found = changed(put(np.s_[1::2], lambda window: window[::2]))
    assert {(asset, "market_unmoved_h") for asset in range(5)} <= found


def test_a_measure_is_the_same_alone_and_among_others() -> None:
    windows = np.stack([with_gaps(walk(LOOKBACK_H, seed=seed), 0.01, seed) for seed in range(9)])
    together = measure(windows)
    for k, window in enumerate(windows):
        np.testing.assert_array_equal(measure(window[None])[0], together[k])


def test_bounds_that_are_not_there_fail_nothing() -> None:
    nothing = np.full((1, LOOKBACK_H, 3), 7.0)
    assert not Bounds.read({}, MEASURES).outside(measure(nothing)).any()
    assert Bounds.read(POSSIBLE, MEASURES).outside(measure(nothing)).any()
    assert set(MEASURES) > MISSING and set(MEASURES) < set(POSSIBLE)


def test_a_window_is_measured_in_less_than_a_millisecond() -> None:
    window = walk(LOOKBACK_H, 13)[None]
    assert best_of(20, lambda: measure(window)) < 0.005  # 0.15 ms on an idle core
