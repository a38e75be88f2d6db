"""How rollouts begin, and what they leave when they end."""

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, ROLLOUTS
from marina.releases import ledger
from marina.releases.declarations import declare
from marina.rollout import operator_commands, rollouts
from marina.rollout.policy.schema import ABTest, PolicyError, TrafficStep
from marina.rollout.rollouts import RolloutError
from tests.marina.rollout.releases import (
    NOW,
    Releases,
    actions,
    bad,
    begin,
    candidate,
    declared,
    good,
    latest,
    policy,
    serve,
)


def input_shares(database: Database) -> dict[str, float]:
    with database.reading() as connection:
        rows = connection.execute(sa.select(DECLARATIONS.c.version, DECLARATIONS.c.input_share)).all()
    return {row.version: row.input_share for row in rows}


def test_a_policy_that_could_not_be_read_back_begins_nothing(releases: Releases) -> None:
    test = ABTest(metric="accuracy", ends_after_s=60)
    broken = policy().model_copy(update={"test": test})
    with pytest.raises(PolicyError, match="a test has two"), releases.database.writing() as connection:
        rollouts.start(connection, candidate(), broken, "ann", NOW)
    releases.run(2)
    assert declared(releases.database) == {"1.0": 1}


def test_a_canary_may_follow_its_shadow(releases: Releases) -> None:
    database = releases.database
    with database.writing() as connection:
        rollouts.start(connection, candidate(), policy(), "ann", NOW, shadow=True, input_share=0.5)
    releases.run(5)
    assert latest(database).phase == "shadow" and declared(database) == {"1.0": 1, "2.0": 0}
    with pytest.raises(RolloutError, match="shadow stop"):
        begin(database, version="3.0", now=releases.now)
    begin(database, now=releases.now)
    releases.run(2)
    assert latest(database).phase == "watching" and declared(database) == {"1.0": 95, "2.0": 5}
    with database.reading() as connection:
        assert [one.id for one in rollouts.open_rollouts(connection)] == [2]


@pytest.mark.parametrize("ending", ["done", "rolled back", "aborted", "stopped", "withdrawn"])
def test_inputs_are_kept_for_no_longer_than_a_rollout_lasts(releases: Releases, ending: str) -> None:
    database = releases.database
    with database.writing() as connection:
        rollouts.start(connection, candidate(), policy(), "ann", NOW, shadow=True, input_share=0.5)
    releases.run(5)
    if ending == "stopped":
        operator_commands.abort(database, "sums", "ben", "", releases.now)
    else:
        begin(
            database,
            now=releases.now,
            steps=[TrafficStep(share=0.05, at_least_s=20), TrafficStep(share=1, at_least_s=20)],
        )
        releases.run(2)
        assert input_shares(database) == {"1.0": 0, "2.0": 0.5}  # the canary's answers go on being paired
        (bad if ending == "rolled back" else good)(database, start=NOW + 3600)
        if ending == "withdrawn":
            with database.writing() as connection:
                connection.execute(sa.delete(DECLARATIONS).where(DECLARATIONS.c.version == "1.0"))
        elif ending == "aborted":
            operator_commands.abort(database, "sums", "ben", "", releases.now)
        releases.run(60)
    assert latest(database).ended_at is not None
    assert set(input_shares(database).values()) == {0}


@pytest.mark.parametrize(
    ("model", "version", "words"), [("sums", "1.0", "served already"), ("other", "2.0", "not served")]
)
def test_what_cannot_begin_says_why(database: Database, model: str, version: str, words: str) -> None:
    serve(database)
    with pytest.raises(RolloutError, match=words):
        begin(database, model, version)


def test_one_rollout_of_a_model_at_a_time(database: Database) -> None:
    serve(database)
    begin(database)
    with pytest.raises(RolloutError, match="a rollout is open"):
        begin(database, version="3.0")


def test_models_that_are_declared_anew_have_no_open_rollout(releases: Releases) -> None:
    database = releases.database
    serve(database, "others")
    begin(database)
    begin(database, "others")
    releases.run(3)
    with database.writing() as connection:
        declare(connection, candidate(version="3.0"), releases.now)
        ledger.declared(connection, "serve", ["sums"], releases.now)
        rollouts.abort_open(connection, ["sums"], "serve", releases.now, "declared anew")
    assert (latest(database).phase, latest(database).note) == ("aborted", "declared anew")
    assert declared(database) == {"1.0": 95, "2.0": 5, "3.0": 1}
    assert actions(database)[-2:] == ["declare", "aborted"]
    assert latest(database, "others").phase == "watching"


def test_every_rollout_begins_and_ends_with_a_row_of_its_own(releases: Releases) -> None:
    for version in ("2.0", "3.0"):
        begin(releases.database, version=version, now=releases.now)
        releases.run(3)
        operator_commands.abort(releases.database, "sums", "ben", "", releases.now)
        releases.run(2)
    with releases.database.reading() as connection:
        assert connection.execute(sa.select(ROLLOUTS.c.phase)).scalars().all() == ["aborted", "aborted"]
