"""The controller carries rollouts through, whatever happens to it."""

import contextlib
from dataclasses import replace

import pytest
import sqlalchemy as sa

from marina.database.connection import AWAY, Database
from marina.database.tables import LABELS, PREDICTIONS, VERDICTS
from marina.releases.lease import Lease
from marina.rollout import explain, verdicts
from marina.rollout.controller import Controller
from marina.rollout.judge import JUDGE_VERSION
from marina.rollout.judge.decision import Verdict, decide
from marina.rollout.judge.evidence import Evidence
from marina.rollout.policy.schema import Policy
from marina.serving.control_socket import ControlError
from tests.marina.rollout.releases import (
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
    serve,
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


def test_a_rollout_that_asks_for_labels_waits_for_those_that_tell_and_says_so(releases: Releases) -> None:
    database = releases.database
    gates = policy().gates.model_dump()
    begin(database, gates=gates | {"accuracy": gates["accuracy"] | {"required": True}}, stuck_after_s=30)
    good(database)
    add_labels(database, wrong=120)
    releases.run(70)
    one = latest(database)
    assert (one.waiting_for, one.step) == ("labels", 0)
    assert "accuracy needs more right answers of stable's: 0 of 120 were" in one.note
    releases.run(60)
    assert "more right answers" in latest(database).stuck_on
    add_labels(database, right=1_500, now=releases.now + 1)  # new ones are counted at once
    releases.run(20)
    one = latest(database)
    assert one.step > 0 and (one.waiting_for, one.stuck_on) == ("", "")


def add_labels(database: Database, right: int = 0, wrong: int = 0, now: float = WATCHED + 2.0) -> None:
    """Write answers of both versions, and as many labels of each."""
    answers, labels = [], []
    for version in ("1.0", "2.0"):
        for number in range(right + wrong):
            key = {"request_id": f"{version} {right} {number}", "instance": 0}
            said = {"model": "sums", "version": version, "time": WATCHED + 1.0, "picked": True, "answer": "[]"}
            answers.append(key | said | {"label": "2583"})
            labels.append(key | {"label": "2583" if number < right else "2583.0", "time": now})
    with database.writing() as connection:
        database.put(connection, PREDICTIONS, answers)
        database.put(connection, LABELS, labels)


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
        assert verdicts.replay(connection, latest(database)) == verdicts.Replay(5, [], 0)
        milder = policy(gates=policy().gates.model_dump() | {"errors": {"limit": 0.2, "accept": 0.3, "required": True}})
        found = verdicts.simulate(connection, latest(database), milder)
    assert found is not None and found.outcome == "promote" and found.requests == 2000


def test_a_verdict_that_was_changed_does_not_come_out_the_same(releases: Releases) -> None:
    begin(releases.database)
    bad(releases.database)
    releases.run(9)
    with releases.database.writing() as connection:
        kept = list(verdicts.series(connection, 1))[-1]
        connection.execute(sa.update(VERDICTS).values(evidence=kept.evidence.replace('"errors":100', '"errors":101')))
    with releases.database.reading() as connection:
        again = verdicts.replay(connection, latest(releases.database))
    assert again.count == len(again.faults) > 0


def test_a_verdict_that_another_judge_gave_is_no_fault(releases: Releases) -> None:
    begin(releases.database)
    bad(releases.database)
    releases.run(9)
    with releases.database.writing() as connection:
        for kept in list(verdicts.series(connection, 1)):
            assert kept.judge() == JUDGE_VERSION
            by_another = kept.findings.replace(f'"judge":"{JUDGE_VERSION}"', '"judge":"0123456789ab"')
            connection.execute(sa.update(VERDICTS).where(VERDICTS.c.id == kept.id).values(findings=by_another))
    with releases.database.writing() as connection:
        assert verdicts.replay(connection, latest(releases.database)).by_another == 0  # it would say the same
        connection.execute(sa.update(VERDICTS).values(outcome="promote"))
        again = verdicts.replay(connection, latest(releases.database))
    assert again.count == again.by_another > 0 and not again.faults


def test_a_verdict_is_shown_as_it_was_stored_and_compared_with_todays_judge_on_demand(releases: Releases) -> None:
    begin(releases.database)
    bad(releases.database)
    releases.run(9)
    one = latest(releases.database)
    with releases.database.writing() as connection:
        assert "    the same, bit for bit" in list(explain.recompute(connection, one))
        kept = verdicts.last(connection, one.id)
        assert kept is not None
        text = kept.findings.replace("canary 100 of 2000", "as the old judge put it")
        text = text.replace(f'"judge":"{JUDGE_VERSION}"', '"judge":"0123456789ab"')
        connection.execute(sa.update(VERDICTS).values(findings=text))
        told = "\n".join(explain.describe(connection, one))
        compared = "\n".join(explain.recompute(connection, one))
    assert "as the old judge put it" in told and "errors: canary 100" not in told.partition("last verdict")[2]
    assert "of judge 0123456789ab" in compared and "errors: canary 100 of 2000" in compared


def test_a_controller_takes_evidence_and_verdicts_from_what_it_is_given(releases: Releases) -> None:
    class Constant:
        def gather(self, *_: object) -> Evidence:
            return Evidence(shared_s=7.0)

    judged: list[float] = []

    def judge(evidence: Evidence, policy: Policy, /) -> Verdict:
        judged.append(evidence.shared_s)
        return replace(decide(evidence, policy), outcome="roll back")

    begin(releases.database)
    lease = Lease("controller", "test", lambda: releases.now)
    releases.controller = Controller(releases.database, lease, releases.told.append, evidence=Constant(), judge=judge)
    releases.run(8)
    assert judged and set(judged) == {7.0}
    assert latest(releases.database).phase == "rolled back" and declared(releases.database) == {"1.0": 100}


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
        with contextlib.suppress(sa.exc.SQLAlchemyError):
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


def retreating(database: Database, clock: list[float]) -> tuple[Controller, list[tuple[str, str, str]]]:
    """Return a controller with a verdict to roll back before it, and what it tells the gateway."""
    told: list[tuple[str, str, str]] = []
    controller = Controller(
        database, Lease("controller", "test", lambda: clock[0]), lambda _: None, lambda *words: told.append(words)
    )
    begin(database)
    for _ in range(2):
        supervise(database)
        controller.step(clock[0])
        clock[0] += 2
    bad(database)
    return controller, told


def test_the_gateway_hears_of_a_retreat_before_it_is_written_and_of_nothing_else(releases: Releases) -> None:
    clock = [NOW]
    controller, told = retreating(releases.database, clock)
    assert declared(releases.database) == {"1.0": 95, "2.0": 5} and told == []
    written: list[int] = []

    @sa.event.listens_for(releases.database.engine, "before_cursor_execute")
    def note(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            written.append(len(told))

    controller.step(clock[0])
    assert told == [("sums", "2.0", "1.0")]
    assert written and min(written) == 1
    assert declared(releases.database) == {"1.0": 100, "2.0": 0}
    controller.step(clock[0] + 1)
    assert len(told) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_retreat_is_told_again_for_as_long_as_the_database_takes_nothing(
    releases: Releases, database_url: str
) -> None:
    clock = [NOW]
    impatient = Database(database_url, wait_ms=10, first=True)
    controller, told = retreating(impatient, clock)
    with releases.database.writing():
        for step in range(1, 15):  # longer than the lease lasts
            with pytest.raises(AWAY):
                controller.step(clock[0])
            assert told and set(told) == {("sums", "2.0", "1.0")} and len(told) >= step
            clock[0] += 1
    controller.step(clock[0])
    assert declared(releases.database) == {"1.0": 100, "2.0": 0}
    impatient.close()


def test_a_gateway_that_does_not_answer_keeps_nothing_from_being_written(releases: Releases) -> None:
    def nobody(*_: str) -> None:
        raise ControlError("nobody there")

    clock = [NOW]
    controller, _ = retreating(releases.database, clock)
    controller._retreat = nobody
    controller.step(clock[0])
    assert declared(releases.database) == {"1.0": 100, "2.0": 0}


@pytest.mark.parametrize(
    ("table", "column"), [("rollouts", "policy"), ("evidence", "latencies")], ids=["policy", "evidence"]
)
def test_one_row_that_cannot_be_read_stops_no_other_rollout(releases: Releases, table: str, column: str) -> None:
    database = releases.database
    serve(database, "other")
    begin(database, "other")
    begin(database)
    releases.run(4)
    good(database, "other")
    bad(database)
    with database.writing() as connection:
        connection.execute(sa.text(f"UPDATE {table} SET {column} = '<' WHERE model = 'other'"))
    releases.run(6)
    assert latest(database).phase == "rolled back"
    assert declared(database, "other") == {"1.0": 95, "2.0": 5}
    assert (
        len([words for words in releases.told if "other" in words and ("is halted" in words or "fails" in words)]) == 1
    )
