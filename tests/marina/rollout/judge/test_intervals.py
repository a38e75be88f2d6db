import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.rollout.judge.e_values import above, below
from marina.rollout.judge.intervals import apart, interval, mcnemar


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_the_rate_and_ends_where_the_bets_begin_to_win(counts: tuple[int, int]) -> None:
    successes, trials = counts
    low, high = interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    needed = math.log(40)
    if low > 1e-6:
        assert above(successes, trials, low * 0.999) >= needed - 0.02 >= above(successes, trials, low) - 0.04
    if high < 1 - 1e-6:
        assert below(successes, trials, high + (1 - high) * 0.001) >= needed - 0.02


def test_nothing_seen_says_nothing() -> None:
    assert interval(0, 0) == (0.0, 1.0)


def test_intervals_hold_at_all_looks_together() -> None:
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(60):
        seen = np.cumsum(rng.random(1000) < 0.3)[9::90]
        looks = range(10, 1001, 90)
        missed += any(not low <= 0.3 <= high for low, high in map(interval, seen.tolist(), looks))
    assert missed <= 3  # 5 % of 60


@pytest.mark.parametrize(
    ("worse", "better", "p"), [(0, 0, 1.0), (5, 5, 1.0), (10, 0, 2 / 1024), (3, 1, 0.625), (1500, 1000, 1.2e-23)]
)
def test_mcnemar_is_the_sign_test_of_what_differs(worse: int, better: int, p: float) -> None:
    assert mcnemar(worse, better) == pytest.approx(p, rel=0.2 if p < 1e-9 else 1e-9)
    assert mcnemar(better, worse) == pytest.approx(mcnemar(worse, better))


def test_distributions_are_apart_by_their_largest_distance() -> None:
    first = np.array([1.0, 2.0, 3.0, 4.0])
    assert apart(first, first) == 0.0
    assert apart(first, first + 10) == 1.0
    assert apart(first, np.array([1.0, 2.0, 9.0, 9.0])) == 0.5
