"""A part of `python -m tests.fuzz`, by seeds that stay."""

import pytest

from tests.fuzz import SETTINGS, attack
from tests.handlers.every import loaded
from tests.serving import running

MODELS = ("code_risk", "signflow", "budget_categorizer", "market_alerts")
SEEDS = (1, 2, 3)
"""Add the seed of whatever a longer run finds."""

REQUESTS = 400


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_odd_request_is_our_fault_or_a_neighbours() -> None:
    archives = [path for model in MODELS for path in loaded(model)[1].glob("*.mar")]
    with running(archives, SETTINGS) as server:
        for seed in SEEDS:
            report = attack(server, MODELS, seed, range(REQUESTS))
            assert not report.faults, "\n".join(report.faults[:20])
            assert report.good and report.statuses[200] and report.statuses[422]
