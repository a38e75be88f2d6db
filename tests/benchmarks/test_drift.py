"""The budget of false alarms is kept, in fewer months than docs/MONITORING.md shows, and shifts are seen in time."""

import argparse
import math

import numpy as np
import pytest

from benchmarks.drift import HEALTHY, delays, healthy_months
from marina.monitoring.dispersion import Dispersion

OPTIONS = argparse.Namespace(seed=5, tolerance=0.01, budget=0.5, batches=720)


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_month_raises_no_more_alarms_than_its_budget(name: str) -> None:
    months = 40
    alarmed = healthy_months(HEALTHY[name], months, OPTIONS).detector.mean()
    assert alarmed <= OPTIONS.budget + 3 * math.sqrt(OPTIONS.budget * (1 - OPTIONS.budget) / months)


def test_a_tenth_of_the_budget_is_kept_as_well() -> None:
    options = argparse.Namespace(**{**vars(OPTIONS), "budget": 0.05})
    months = 60
    alarmed = healthy_months(HEALTHY["independent requests"], months, options).detector.mean()
    assert alarmed <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / months)


def test_a_month_breaks_the_budget_where_clients_that_repeat_themselves_are_taken_for_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the months above are there to find: with bets as if all requests were independent, nearly all alarm."""
    monkeypatch.setattr(Dispersion, "estimate", lambda self: np.ones(self.mean.shape))
    alarmed = healthy_months(HEALTHY["bursts of clients that repeat themselves"], 20, OPTIONS).detector.mean()
    assert alarmed > OPTIONS.budget + 3 * math.sqrt(OPTIONS.budget * (1 - OPTIONS.budget) / 20)


@pytest.mark.parametrize(("share", "batches"), [(0.15, 20), (0.20, 5)])
def test_a_shift_is_seen_in_time(share: float, batches: int) -> None:
    assert np.median(delays(share, 10_000, 100, OPTIONS)) <= batches
