"""A short year of the loop by the real commands, and a plan that is what it says."""

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from rich.console import Console

from archives.registry import Registry
from demo import year
from demo.year_audit import audit
from demo.year_plan import BAD, EVENTS, Plan, iso_week
from marina.database.connection import Database
from marina.database.loop_tables import TRAININGS
from marina.database.raw_tables import RAW_ROWS
from marina.database.tables import LEDGER
from tests.marina.rollout.untied import untie

WEEKS = 5


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return Plan.make(WEEKS, 800, 300, 0, tmp_path_factory.mktemp("year"))


@pytest.fixture
def own_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_the_plan_lets_rows_grow_by_three_percent_and_keeps_others_aside(plan: Plan) -> None:
    assert plan.visible[:3] == (776, 800, 824)
    files = [
        pd.read_csv(plan.file(week), dtype=str, keep_default_na=False, sep=None, engine="python") for week in (0, 4)
    ]
    assert [len(one) for one in files] == [800, plan.visible[4] - plan.visible[3]]
    aside = set(pd.read_csv(plan.held_out, dtype=str, keep_default_na=False)["designation"])
    assert len(aside) > 250 and len(aside & set(files[0]["designation"])) < 10
    assert sorted(plan.event(week) for week in range(WEEKS)) == ["", *sorted(EVENTS)]
    bad = pd.read_csv(plan.file(plan.week_of("bad rows")), dtype=str)
    assert len(bad) == plan.visible[1] - plan.visible[0] + BAD
    assert (iso_week(0), iso_week(51)) == ("2027-W01", "2027-W52")


@pytest.mark.slow
def test_a_short_year_is_as_planned_and_what_is_not_is_found(
    plan: Plan, own_environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert year.run(plan, Console(soft_wrap=True)) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "NOT" not in said and said.count("\nok  ") == 14
    state = plan.folder / "state"
    database = Database(f"sqlite:///{state}/marina.db")
    keys = sa.select(RAW_ROWS.c.key).limit(2)
    with database.writing() as connection:
        untie(connection)
        one, other = connection.execute(keys).scalars()
        content = sa.select(RAW_ROWS.c.content).where(RAW_ROWS.c.key == one).scalar_subquery()
        connection.execute(sa.update(RAW_ROWS).where(RAW_ROWS.c.key == other).values(content=content))
        connection.execute(sa.update(TRAININGS).where(TRAININGS.c.version == "3.0").values(attempts=2))
        connection.execute(sa.update(LEDGER).where(LEDGER.c.seq == 3).values(who="someone else"))
    found = {check.what for check in audit(plan, database, Registry(Path(state))) if not check.holds}
    database.close()
    assert found == {
        "no row is there twice, and each was loaded once",
        "the training that was cut off went on as the same version",
        "the ledger verifies",
    }
