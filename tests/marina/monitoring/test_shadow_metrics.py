"""How often a shadow disagrees is counted of open rollouts, with an interval that holds at every scrape."""

import re

import numpy as np
import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import ROLLOUTS
from marina.monitoring.shadow_metrics import ShadowMetrics, interval
from tests.marina.rollout.logged import shadowing
from tests.marina.rollout.paired import MODEL, drawn


def scraped(database: Database, metrics: ShadowMetrics | None = None) -> dict[str, float]:
    with database.reading() as connection:
        families = (metrics or ShadowMetrics()).collect(connection, 0.0)
        lines = [line for family in families for line in family if not line.startswith("#")]
    return {re.sub(r'.*bound="(\w+)".*', r"\1", name): float(value) for name, _, value in
            (line.strip().rpartition(" ") for line in lines)}  # fmt: skip


def test_disagreement_is_of_open_rollouts_alone(database: Database) -> None:
    assert scraped(database) == {}
    shadowing(database, model=MODEL)
    drawn(database, 400, agree=0.8, labelled=0.0)
    found = scraped(database)
    [pairs] = [value for name, value in found.items() if name.startswith("marina_shadow_pairs")]
    assert f'model="{MODEL}"' in next(name for name in found if name.startswith("marina_shadow_pairs"))
    assert 0 < pairs <= 400 and 0.1 < found["lower"] < found["estimate"] < found["upper"] < 0.3
    times = iter([0.0, 2.0, 201.9, 202.0, 202.0])  # it takes 2 s to count, so not again for 200 s
    metrics = ShadowMetrics(lambda: next(times))
    assert scraped(database, metrics) == found
    with database.writing() as connection:
        connection.execute(sa.update(ROLLOUTS).values(ended_at=2_000.0))
    assert scraped(database, metrics) == found and scraped(database, metrics) == {}


def test_the_interval_misses_the_share_in_few_of_many_long_rollouts_at_any_scrape() -> None:
    chance = np.random.default_rng(5)
    missed = 0
    for share in (0.02, 0.1, 0.5):
        for _ in range(40):
            sums = np.cumsum(chance.random(2000) < share)
            bounds = [interval(int(sums[at - 1]), at) for at in (*range(1, 60, 3), *range(60, 2000, 60))]
            missed += any(not low <= share <= high for low, high in bounds)
    assert missed <= 120 * 0.05


def test_the_interval_at_its_edges() -> None:
    assert interval(0, 0) == (0.0, 1.0)
    assert interval(0, 50)[0] == 0.0 and interval(50, 50)[1] == 1.0
    low, high = interval(2_000, 10_000)
    assert low == pytest.approx(0.186, abs=0.004) and high == pytest.approx(0.214, abs=0.004)
