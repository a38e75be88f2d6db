"""A family of several models in the loop: what fails or waits is of one of them, and holds none of its sisters up."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.loop_tables import LOOP_STEPS
from marina.pipelines import commands
from marina.pipelines.step_list import Family
from tests.marina.pipelines.test_loop import MONDAY, SCRIPT, calls, loop_of, metric, scripts
from tests.marina.pipelines.test_schedule import at

__all__ = ["calls", "scripts"]

MODELS = ("anomaly", "categorizer", "forecast")


def promotion(model: str) -> str:
    return f"auto_promote --model {model} --version 2.0 --data kept.csv --who loop"


@pytest.fixture
def sisters(scripts: Path) -> Path:
    """Let the family have three models."""
    trained = json.dumps({"trained": [{"model": model, "version": "2.0"} for model in MODELS]})
    (scripts / "auto_train.py").write_text(SCRIPT.format(result=trained))
    return scripts


def test_a_model_that_fails_for_good_does_not_hold_its_sisters_up(
    database: Database, sisters: Path, calls: Callable[[], list[str]]
) -> None:
    (sisters / "anomaly.exit").write_text("1")
    first = loop_of(database, sisters)
    assert first.step() == ["weekly 2026-11-23 catalog"], "the family's run is not whole"
    assert calls()[2:] == [promotion(model) for model in MODELS], "each is attempted, in their order"
    assert first.due("weekly 2026-11-23", "catalog", "promote") == pytest.approx(at(MONDAY) + 600, abs=30)
    for hour in (3, 6, 9):
        failed = loop_of(database, sisters, f"2026-11-23 {hour:02}:00").step()
        assert failed == ["weekly 2026-11-23 catalog"]
        assert calls() == ([promotion("anomaly")] if hour < 9 else []), "three times, and what is done once"
    assert first.due("weekly 2026-11-23", "catalog", "promote") is None
    assert states(database) == {"anomaly": ("failed", 3), "categorizer": ("done", 1), "forecast": ("done", 1)}
    assert 'family="catalog"} 0' in metric(database), "no success of the week"


def test_one_failed_for_good_does_not_end_the_attempts_of_another_nor_hide_that_a_third_waits(
    database: Database, sisters: Path, calls: Callable[[], list[str]]
) -> None:
    for model, status in zip(MODELS, (1, 1, commands.WAIT), strict=True):
        (sisters / f"{model}.exit").write_text(str(status))
    run, family = "weekly 2026-11-23", Family("catalog", held_out="kept.csv")
    assert loop_of(database, sisters).step() == [f"{run} catalog"], "a failure is told though another one waits"
    calls()
    with database.writing(durable=True) as connection:  # the last of its attempts, which ended after the other's
        over = sa.update(LOOP_STEPS).where(LOOP_STEPS.c.step == "promote categorizer")
        connection.execute(over.values(attempts=3, ended_at=at("2026-11-23 02:00")))
    later = loop_of(database, sisters, "2026-11-23 09:00")
    assert later.due(run, "catalog", "promote") == pytest.approx(at(MONDAY) + 600, abs=60)
    (sisters / "anomaly.exit").unlink()
    assert later.one(run, family, "promote") is None
    assert calls() == [promotion("anomaly"), promotion("forecast")]
    assert states(database) == {"anomaly": ("done", 2), "categorizer": ("failed", 3), "forecast": ("waiting", 1)}


def states(database: Database) -> dict[str, tuple[str, int]]:
    """Return the state and the attempts of each model's decision."""
    with database.reading() as connection:
        rows = connection.execute(sa.select(LOOP_STEPS).where(LOOP_STEPS.c.step.startswith("promote "))).all()
    return {row.step.partition(" ")[2]: (row.state, row.attempts) for row in rows}
