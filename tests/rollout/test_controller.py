"""The controller carries rollouts through, whatever happens to it."""

import pytest
import sqlalchemy as sa

from events.database import Database
from rollout import verdicts
from rollout.controller import Controller
from rollout.lease import Lease
from tests.rollout.releases import (
    NOW,
    WATCHED,
    Releases,
    actions,
    answer,
    bad,
    begin,
    declared,
    good,
    latest,
    policy,
    supervise,
)


def test_a_good_canary_goes_all_the_way(releases: Releases) -> None:
    database = releases.database
    begin(database)
    good(database)
    releases.run(3)
    assert declared(database) == {"1.0": 95, "2.0": 5} and latest(database).stable_p95_ms is not None
    releases.run(62)
    assert declared(database) == {"1.0": 50, "2.0": 50}
    releases.run(62)
    assert declared(database) == {"1.0": 0, "2.0": 100} and latest(database).phase == "probation"
    releases.run(62)
    assert declared(database) == {"2.0": 100} and latest(database).phase == "done"
    assert actions(database) == ["declare", "start", "watching", "watching", "probation", "done"]


def test_a_bad_canary_loses_its_traffic_and_is_unloaded(releases: Releases) -> None:
    database = releases.database
    begin(database)
    releases.run(3)
    bad(database)
    releases.now += 1
    releases.controller.step(releases.now)
    assert declared(database) == {"1.0": 100, "2.0": 0}
    releases.controller.step(releases.now + 1)  # the gateway has not said yet that it follows
    assert "2.0" in declared(database)
    releases.run(2)
    one = latest(database)
    assert one.phase == "rolled back" and declared(database) == {"1.0": 100}
    assert "canary 100 of 2000" in one.note and "errors" in releases.told[-1]


def test_harm_in_probation_returns_traffic_at_once(releases: Releases) -> None:
    database = releases.database
    begin(database)
    good(database)
    releases.run(130)
    assert latest(database).phase == "probation"
    answer(database, 9000, 900, WATCHED + 130)
    releases.run(4)
    assert declared(database) == {"1.0": 100} and latest(database).phase == "rolled back"


def test_every_verdict_is_kept_with_what_it_takes_to_give_it_again(releases: Releases) -> None:
    database = releases.database
    begin(database)
    releases.run(40)
    bad(database)
    releases.run(3)
    with database.reading() as connection:
        kept = list(verdicts.series(connection, 1))
        assert [one.outcome for one in kept] == ["keep watching"] * 4 + ["roll back"]  # every 10 s, and when it changed
        assert verdicts.replay(connection, latest(database)) == verdicts.Replayed(5, [], 0)
        milder = policy(gates=policy().gates.model_dump() | {"errors": {"limit": 0.2, "accept": 0.3, "required": True}})
        found = verdicts.simulate(connection, latest(database), milder)
    assert found is not None and found.outcome == "promote" and found.requests == 2000


def test_a_verdict_that_was_changed_does_not_come_out_the_same(releases: Releases) -> None:
    begin(releases.database)
    bad(releases.database)
    releases.run(9)
    with releases.database.writing() as connection:
        kept = list(verdicts.series(connection, 1))[-1]
        connection.execute(
            sa.update(verdicts.VERDICTS).values(evidence=kept.evidence.replace('"errors":100', '"errors":101'))
        )
    with releases.database.reading() as connection:
        again = verdicts.replay(connection, latest(releases.database))
    assert again.count == len(again.faults) > 0


def test_a_verdict_that_another_judge_gave_is_no_fault(releases: Releases) -> None:
    begin(releases.database)
    bad(releases.database)
    releases.run(9)
    with releases.database.writing() as connection:
        for kept in list(verdicts.series(connection, 1)):
            assert kept.judge() == verdicts.JUDGE
            by_another = kept.findings.replace(verdicts.JUDGE, "0" * 12)
            connection.execute(
                sa.update(verdicts.VERDICTS).where(verdicts.VERDICTS.c.id == kept.id).values(findings=by_another)
            )
    with releases.database.writing() as connection:
        assert verdicts.replay(connection, latest(releases.database)).by_another == 0  # it would say the same
        connection.execute(sa.update(verdicts.VERDICTS).values(outcome="promote"))
        again = verdicts.replay(connection, latest(releases.database))
    assert again.count == again.by_another > 0 and not again.faults


def test_a_refused_version_is_reported_in_the_workers_words(releases: Releases) -> None:
    begin(releases.database)
    releases.run(3, v2="refused")
    assert latest(releases.database).phase == "failed" and "it is ill" in latest(releases.database).note
    assert declared(releases.database) == {"1.0": 100}


def _rename(database: Database, table: str, name: str) -> None:
    with database.writing() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table} RENAME TO {name}"))


def test_a_clock_that_is_set_ahead_advances_nothing(releases: Releases) -> None:
    database = releases.database
    begin(database)
    good(database)
    releases.run(30)
    hour = 3600.0
    since = latest(database).phase_since
    for table in ("leases", "approvals"):  # a step that fails before the phases were set, and one that fails after
        _rename(database, table, "away")
        with pytest.raises(sa.exc.SQLAlchemyError):
            releases.controller.step(releases.now + hour, jumped_s=hour if table == "leases" else 0.0)
        _rename(database, "away", table)
    releases.now += hour
    releases.controller.step(releases.now)
    assert latest(database).phase_since == since + hour
    releases.run(20)
    assert latest(database).step == 0
    releases.run(15)
    assert latest(database).step == 1


def test_a_controller_without_the_lease_does_nothing(releases: Releases) -> None:
    database = releases.database
    other = Controller(database, Lease("controller", "other", lambda: releases.now), releases.told.append)
    assert other.step(NOW)
    begin(database)
    supervise(database)
    assert not releases.controller.step(NOW)
    assert latest(database).phase == "deploying"
