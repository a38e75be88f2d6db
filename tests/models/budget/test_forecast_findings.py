import numpy as np
import pytest

from models.budget.forecast_findings import Finding, overspending, probability_above, subscriptions, trends
from models.budget.forecast_total import total


def test_the_probability_of_a_limit_follows_the_percentiles() -> None:
    quantiles = np.array([80.0, 100.0, 150.0])
    assert [round(probability_above(quantiles, limit), 3) for limit in (80, 100, 150)] == [0.9, 0.5, 0.1]


def over(quantiles: list[float], usual: float = 100.0, budget: float = float("nan")) -> list[Finding]:
    """Return the findings about one category, of which 60 have been spent."""
    found = overspending(["loisirs"], np.array([quantiles]), np.array([60.0]), np.array([usual]), np.array([budget]))
    return [one for _, one in found]


def test_a_budget_that_will_probably_not_hold_is_a_finding_with_its_numbers() -> None:
    [found] = over([80.0, 100.0, 150.0], budget=90.0)
    assert (found["against"], found["limit_eur"], found["over_eur"], found["spent_eur"]) == ("budget", 90.0, 10.0, 60.0)
    assert 0.5 < found["probability"] < 0.9
    assert over([80.0, 100.0, 150.0], budget=110.0) == []


def test_without_a_budget_only_what_is_surely_unusual_is_a_finding() -> None:
    assert over([80.0, 125.0, 200.0]) == []
    [found] = over([150.0, 180.0, 220.0])
    assert (found["against"], found["limit_eur"]) == ("usual", 120.0) and found["probability"] > 0.8
    assert over([0.0, 0.0, 0.0], usual=0.0) == []


def test_a_rise_from_year_to_year_is_a_trend_and_a_season_is_none() -> None:
    season = 100 + 80 * np.sin(2 * np.pi * np.arange(36) / 12)
    rising, falling = season * np.repeat([1.0, 1.2, 1.4], 12), season * np.repeat([1.4, 1.2, 1.0], 12)
    found = dict(trends(["steady", "rising", "falling"], np.stack([season, rising, falling])))
    assert set(found) == {1, 2}
    assert found[1]["direction"] == "up" and found[1]["p_value"] < 0.01 and found[1]["category"] == "rising"
    assert found[1]["previous_12_months_eur"] < found[1]["last_12_months_eur"]
    assert found[2]["change_per_year_eur"] < 0


def test_noise_and_short_histories_are_no_trend() -> None:
    noise = np.random.default_rng(0).normal(100, 20, (200, 24))
    assert len(trends(["x"] * 200, noise)) <= 20
    assert trends(["x"], np.arange(12.0)[None]) == []
    short = np.concatenate([np.full(9, np.nan), np.arange(15.0)])
    assert trends(["x"], short[None]) == []


def test_a_trend_is_the_same_whatever_it_is_padded_with() -> None:
    months = 100 * 1.02 ** np.arange(31)
    padded = [np.concatenate([np.full(width - 31, np.nan), months]) for width in (36, 60)]
    [(_, short)], [(_, long)] = (trends(["x"], one[None]) for one in padded)
    assert short == long and short["months"] == 31


def charges(
    prices: list[float], first: str = "2026-01-07", label: str = "NETFLIX"
) -> tuple[list[str], np.ndarray, np.ndarray]:
    days = (np.datetime64(first) + 30 * np.arange(len(prices))).astype("datetime64[D]").astype(np.int64)
    return [label] * len(prices), days, -np.array(prices)


def test_a_dearer_subscription_says_from_what_to_what_and_since_when() -> None:
    keys, days, amounts = charges([9.99, 9.99, 9.99, 13.99, 13.99])
    [found] = subscriptions(["abonnements"] * 5, keys, keys, days, amounts)
    assert (found["kind"], found["from_eur"], found["to_eur"]) == ("subscription_growth", 9.99, 13.99)
    assert found["since"] == str(np.datetime64("2026-01-07") + 90) and found["extra_eur_per_year"] == pytest.approx(48)


@pytest.mark.parametrize("prices", [[9.99] * 5, [42.0, 17.0, 63.0, 28.0], [9.99, 13.99]])
def test_steady_prices_varying_amounts_and_two_charges_are_no_finding(prices: list[float]) -> None:
    keys, days, amounts = charges(prices)
    assert subscriptions(["abonnements"] * len(keys), keys, keys, days, amounts) == []


def test_a_new_subscription_is_found_where_the_months_before_it_are_known() -> None:
    keys, days, amounts = charges([5.99, 5.99, 5.99], "2026-06-07")
    old, before, paid = charges([20.0] * 8, label="FREE MOBILE")
    found = subscriptions(
        ["a"] * 11, keys + old, keys + old, np.concatenate([days, before]), np.concatenate([amounts, paid])
    )
    assert [(one["kind"], one["label"], one["since"]) for one in found] == [
        ("new_subscription", "NETFLIX", "2026-06-07")
    ]


def test_a_total_is_surer_than_the_sum_of_its_intervals() -> None:
    parts = np.array([[90.0, 100.0, 110.0]] * 4 + [[0.0, 0.0, 50.0]])
    found = total(parts, np.array([0, 0, 0, 0, 1]), 2, 1.0)
    np.testing.assert_allclose(found[0], [380, 400, 420])
    np.testing.assert_allclose(found[1], [-10, 15, 40])  # a median of nothing, yet a mean of fifteen
