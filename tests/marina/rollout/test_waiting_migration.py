"""A rollout that was open before it said in columns what it waits for goes on where it was."""

from collections.abc import Iterator

import alembic.command
import alembic.config
import pytest
import sqlalchemy as sa

from marina.database.connection import MIGRATIONS, Database
from marina.releases import replica_status
from marina.rollout import rollouts, state_machine
from marina.rollout.rollouts import Rollout
from tests.marina.rollout.releases import NOW, latest, policy

AGREE = "waits for 2 persons to agree to all traffic: scripts/rollout.py approve --model sums"
NOWHERE = "2.0 does harm and keeps its traffic, since 1.0 is ready nowhere"


@pytest.fixture
def before(database_url: str) -> Iterator[Database]:
    """A database with the tables of migration 0005."""
    made = Database(database_url)
    if made.engine.dialect.name == "sqlite":
        made._keep_private()
    with made.writing() as connection:
        config = alembic.config.Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        alembic.command.upgrade(config, "0005")
    yield made
    made.close()


def migrated(database: Database, phase: str, note: str, ended_at: float | None = None) -> Rollout:
    row = {
        "model": "sums", "stable": "1.0", "canary": "2.0", "phase": phase, "step": 1, "paused": False,
        "policy": policy(approvals=2).model_dump_json(), "started_by": "ann", "started_at": NOW, "watched_since": NOW,
        "phase_since": NOW, "ended_at": ended_at, "note": note,
    }  # fmt: skip
    said = {"seq": 1, "time": NOW + 700, "who": "c", "action": "stuck", "model": "sums", "details": "{}",
            "previous": "", "hash": ""}  # fmt: skip
    with database.writing() as connection:
        for table, values in (("rollouts", row), ("ledger", said)):
            named = sa.table(table, *(sa.column(name) for name in values))
            connection.execute(sa.insert(named).values(values))
    database.upgrade()
    return latest(database)


def advance(rollout: Rollout, outcome: str, canary: str = "ready", stable: str = "ready") -> state_machine.Transition:
    from tests.marina.rollout.test_state_machine import fleet, says

    seen = fleet(canary, canary=50.0, stable=50.0)
    reports = tuple(
        replica_status.Report(one.replica, one.version, one.sha256, stable, "", one.weight)
        if one.version == "1.0"
        else one
        for one in seen.reports
    )
    seen = replica_status.Replicas(seen.alive, seen.declared, reports)
    return state_machine.advance(rollout, says(outcome), NOW + 999, (), seen)  # type: ignore[arg-type]


def test_who_waits_for_approval_and_is_stuck_on_it_still_is(before: Database) -> None:
    rollout = migrated(before, "watching", f"{AGREE} (stuck: 2 persons missing)")
    assert (rollout.note, rollout.waiting_for) == (AGREE, "approval")
    assert (rollout.stuck_since, rollout.stuck_on) == (NOW + 700, "2 persons missing")
    assert rollouts.describe(rollout) == f"{AGREE} (stuck: 2 persons missing)"
    assert not advance(rollout, "promote").action


def test_who_waits_for_approval_in_time_is_reported_once_it_is_late(before: Database) -> None:
    rollout = migrated(before, "watching", AGREE)
    assert (rollout.waiting_for, rollout.stuck_since) == ("approval", None)
    assert advance(rollout, "promote").action == "stuck"


def test_harm_that_stable_cannot_end_is_not_reported_again(before: Database) -> None:
    rollout = migrated(before, "watching", f"50 % of the traffic: ready on one (stuck: {NOWHERE})")
    assert (rollout.note, rollout.waiting_for) == ("50 % of the traffic: ready on one", "ready")
    assert not advance(rollout, "roll back", stable="refused").action
    assert advance(rollout, "roll back").rollout.phase == "rolling back"


def test_harm_that_came_while_approval_was_waited_for_is_not_reported_again(before: Database) -> None:
    rollout = migrated(before, "watching", f"{AGREE} (stuck: {NOWHERE})")
    assert (rollout.note, rollout.waiting_for) == (AGREE, "ready")
    assert not advance(rollout, "roll back", stable="refused").action


@pytest.mark.parametrize(
    ("note", "kept", "stuck_on"),
    [
        ("50 % of the traffic: ready on one", "50 % of the traffic: ready on one", ""),
        ("ready on one (stuck: something else)", "ready on one", "something else"),
    ],
)
def test_other_notes_of_open_rollouts_say_nothing_of_what_they_wait_for(
    before: Database, note: str, kept: str, stuck_on: str
) -> None:
    rollout = migrated(before, "watching", note)
    assert (rollout.note, rollout.stuck_on, rollout.waiting_for) == (kept, stuck_on, "")


def test_notes_of_ended_rollouts_stay(before: Database) -> None:
    rollout = migrated(before, "rolled back", f"{AGREE} (stuck: x)", ended_at=NOW)
    assert (rollout.note, rollout.stuck_since, rollout.waiting_for) == (f"{AGREE} (stuck: x)", None, "")
