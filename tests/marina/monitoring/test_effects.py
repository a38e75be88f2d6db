"""Figures of drift, against scipy's and against simulation."""

import numpy as np
import pytest

from marina.monitoring.effects import (
    discoveries,
    expected_stability,
    kolmogorov,
    kolmogorov_samples,
    kolmogorov_tail,
    population_stability,
    stability_beyond_chance,
)


def test_kolmogorovs_tail_is_the_one_in_tables() -> None:
    values = kolmogorov_tail([0.0, 0.828, 1.224, 1.358, 1.628, 9.0])
    assert values == pytest.approx([1, 0.5, 0.1, 0.05, 0.01, 0], abs=1e-3)


def test_equal_samples_are_rejected_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(0)
    p = [kolmogorov_samples(rng.normal(size=300), rng.normal(size=200))[1] for _ in range(1_000)]
    assert 0.03 < np.mean(np.array(p) < 0.05) < 0.07
    assert kolmogorov_samples(rng.normal(size=300), rng.normal(0.5, size=200))[1] < 1e-4
    assert kolmogorov_samples([1, 2, np.nan], []) == (0.0, 1.0)


def test_counts_in_bins_are_rejected_no_more_often() -> None:
    rng = np.random.default_rng(1)
    even = np.full(10, 0.1)
    p = kolmogorov(rng.multinomial(500, even, 2_000), rng.multinomial(300, even, 2_000))
    assert (p < 0.05).mean() < 0.06
    moved = np.array([0.19, 0.11, *[0.0875] * 8])
    assert (kolmogorov(rng.multinomial(500, even, 50), rng.multinomial(500, moved, 50)) < 0.05).mean() > 0.8


@pytest.mark.parametrize(("rows", "requests"), [(500, 200), (2_000, 1_000), (400, 5_000)])
def test_without_drift_the_index_is_what_chance_makes_of_it(rows: int, requests: int) -> None:
    rng = np.random.default_rng(2)
    before, after = rng.multinomial(rows, np.full(10, 0.1), 4_000), rng.multinomial(requests, np.full(10, 0.1), 4_000)
    found, expected = population_stability(before, after), expected_stability(before, after)
    assert found.mean() == pytest.approx(expected.mean(), rel=0.08)
    assert stability_beyond_chance(before, after).mean() < expected.mean()


def test_a_real_shift_has_the_same_effect_at_any_size() -> None:
    rng = np.random.default_rng(3)
    before, after = np.full(10, 0.1), np.array([0.3, *[0.7 / 9] * 9])
    true = float(((after - before) * np.log(after / before)).sum())
    for size in (500, 50_000):
        sides = rng.multinomial(size, before, 200), rng.multinomial(size, after, 200)
        assert stability_beyond_chance(*sides).mean() == pytest.approx(true, rel=0.1)


def test_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    assert discoveries([0.001, 0.012, 0.05, 0.045, 0.9]) == [True, True, False, False, False]
    assert discoveries([0.01, 0.02, 0.03, 0.04, 0.05]) == [True] * 5  # the largest k counts
    assert discoveries([]) == [] and discoveries([0.2]) == [False]
