"""A flag that makes a product worse is rolled back by itself; one that makes no difference is rolled out."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from benchmarks.judge_clients import Case, simulate, upper_bound
from marina.database.connection import Database
from marina.database.flag_tables import FLAG_OUTCOMES, FLAG_TRUTHS
from marina.products.flags import guard, table
from marina.products.flags.outcomes import Outcome, OutcomeWriter
from marina.products.flags.provider import Draw
from marina.products.flags.table import FlagError, set_flag
from marina.releases import ledger
from marina.rollout.judge.decision import GATES
from marina.rollout.policy.schema import read_policy
from tests.marina.products.flags.guarded import DAY_S, FLAG, Households

POLICY = read_policy(guard.POLICY)
ALPHA = POLICY.false_alarm_rate / len(GATES)


def test_a_hybrid_that_is_right_four_points_less_often_is_rolled_back_to_nothing(database: Database) -> None:
    households = Households(database, 1000, lambda on: 0.86 if on else 0.90)
    households.begin()
    assert households.share == 0.2
    while not (done := households.step()):
        assert households.asked < 60_000, households.guard
        for _ in range(4):
            households.ask()
    assert [one.after.phase for one in done] == [guard.ROLLED_BACK]
    assert (households.guard.phase, households.share) == (guard.ROLLED_BACK, 0.0)
    assert households.guard.note.startswith("roll back: right answers: canary")
    with database.reading() as connection:
        flag = table.read_flag(connection, FLAG)
        last = next(table.history(connection, FLAG))
        assert ledger.verify(connection) == []
    assert (flag.guard, flag.changed_by) == (None, guard.WHO)
    assert (last.said["from"], last.said["to"], last.said["guard"]) == (0.2, 0.0, 1)
    assert last.said["evidence"]["canary"]["labelled"] > 0
    assert households.step() == []
    assert not any(households.flags.value(FLAG, f"household-0-{number}") for number in range(100))


def test_one_that_is_no_worse_is_on_for_all_in_the_end(database: Database) -> None:
    households = Households(database, 700, lambda _: 0.99, seed=3)
    households.begin()
    shares = [households.share]
    for _ in range(3):
        for _ in range(14):
            households.ask()
        assert households.step() == []  # before the step has lasted its day
        households.now += DAY_S
        assert [one.acts for one in households.step()] == [True]
        shares.append(households.share)
    assert shares == [0.2, 0.5, 1.0, 1.0]
    assert households.guard.phase == guard.DONE
    assert households.flags.draw(FLAG, "household-3-1") is None
    with database.reading() as connection:
        assert len(list(table.history(connection, FLAG))) == 4


def test_one_that_fails_is_rolled_back_by_errors_alone(database: Database) -> None:
    households = Households(database, 500, lambda _: 0.9, seed=1)
    households.begin()
    for _ in range(6):
        households.ask(lambda on: 0.08 if on else 0.0)
    assert [one.share for one in households.step()] == [0.0]
    assert "errors: canary" in households.guard.note


@pytest.mark.slow
def test_of_flags_that_make_no_difference_no_more_are_rolled_back_than_was_promised() -> None:
    rollouts = 400
    found = simulate(Case("accuracy", 400, 0.05, 0.9, share=0.2), rollouts, POLICY)
    assert upper_bound(int(np.isfinite(found.harm).sum()), rollouts) < ALPHA


def test_a_hybrid_that_is_four_points_worse_is_found_out_in_nearly_all_simulations() -> None:
    found = simulate(Case("accuracy", 2000, 0.02, 0.3, harm=0.045, share=0.2), 20, POLICY)
    assert np.isfinite(found.harm).mean() >= 0.95


def test_a_step_that_two_processes_take_at_once_is_taken_once(database: Database) -> None:
    households = Households(database, 500, lambda _: 0.9, seed=1)
    households.begin()
    for _ in range(6):
        households.ask(lambda on: 0.08 if on else 0.0)
    done: list[guard.Judged] = []
    threads = [
        threading.Thread(target=lambda: done.extend(guard.step(database, households.now, lambda _: None)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1
    with database.reading() as connection:
        assert [entry.who for entry in table.history(connection, FLAG)] == [guard.WHO, "ann"]


def test_a_process_that_dies_in_the_middle_of_a_rollback_has_done_nothing_and_the_next_does_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    households = Households(database, 500, lambda _: 0.9, seed=1)
    households.begin()
    for _ in range(6):
        households.ask(lambda on: 0.08 if on else 0.0)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "append", die)  # the last of what a rollback writes
        with pytest.raises(KeyboardInterrupt):
            households.step()
    assert (households.guard.phase, households.share) == (guard.WATCHING, 0.2)
    assert [one.share for one in households.step()] == [0.0]
    assert (households.guard.phase, households.share) == (guard.ROLLED_BACK, 0.0)


def test_the_loop_rolls_back_by_itself(database: Database) -> None:
    households = Households(database, 500, lambda _: 0.9, seed=1)
    households.begin()
    for _ in range(6):
        households.ask(lambda on: 0.08 if on else 0.0)
    reported: list[str] = []
    loop = guard.GuardLoop(database, reported.append)
    loop.start()
    end = time.monotonic() + 60
    while not reported and time.monotonic() < end:
        time.sleep(0.05)
    loop.stop()
    assert households.share == 0.0
    assert reported[0].startswith(f"flag {FLAG}: rolled back to 0 %: roll back: errors: canary")


def test_a_guard_is_stopped_by_a_person_who_sets_the_flag(database: Database) -> None:
    households = Households(database, 10, lambda _: 0.9)
    households.begin()
    with database.writing() as connection, pytest.raises(FlagError, match="already"):
        guard.start(connection, FLAG, "ben", "once more", 1.0)
    with database.writing() as connection:
        set_flag(connection, FLAG, "ben", "named", 2.0, users=["household-0-1"])
    assert households.guard.phase == guard.WATCHING
    households.flags.refresh()
    assert households.flags.draw(FLAG, "household-0-1") is None  # who is named is not drawn
    with database.writing() as connection:
        set_flag(connection, FLAG, "ben", "complaints", 3.0, share=0.0)
    assert (households.guard.phase, households.share, households.step()) == ("stopped", 0.0, [])
    assert households.guard.note == "by ben: complaints"


def test_truth_may_come_before_its_outcome_and_twice(database: Database) -> None:
    households = Households(database, 10, lambda _: 0.9)
    households.begin()
    writer = OutcomeWriter(database)
    drawn = households.flags.draw(FLAG, "early", alone=True)
    assert drawn is not None and drawn.unit == "" and households.flags.draw(FLAG, "") is None
    assert drawn.arm == households.flags.value(FLAG, "early")
    for correct in (True, False, False):
        writer.mark("early", correct, 5.0)
    writer.start()
    for _ in range(2):
        writer.add(Outcome(drawn, "early", 5.0, False))
    writer.stop()
    with database.reading() as connection:
        evidence = guard.judge(connection, households.guard, 6.0).evidence
    arm = evidence.canary if drawn.arm else evidence.stable
    assert (arm.requests, arm.labelled, arm.right, arm.of_clients.requests) == (1, 1, 0, 0)


def test_outcomes_wait_for_a_database_that_is_not_there(tmp_path: Path) -> None:
    path, told = tmp_path / "marina.db", list[str]()
    database = Database(f"sqlite:///{path}")
    writer = OutcomeWriter(database, told.append)
    draws = [Draw(FLAG, 1, 0, True, "x" * 5000)] * 3
    for number, drawn in enumerate(draws):
        writer.add(Outcome(drawn, f"request-{number}", 1.0, False))
    writer.stop()
    assert len(told) == 1 and "unavailable" in told[0]
    database.upgrade()
    writer.stop()
    with database.reading() as connection:
        rows = connection.execute(sa.select(FLAG_OUTCOMES)).all()
    database.close()
    assert len(rows) == 3 and {len(row.unit) for row in rows} == {32}


def test_what_is_old_is_deleted_once_its_guard_has_ended(database: Database) -> None:
    households = Households(database, 20, lambda _: 0.9)
    households.begin()
    households.ask()
    later = households.now + 31 * DAY_S
    guard.prune(database, later)
    with database.writing() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(FLAG_OUTCOMES)).scalar() == 20
        set_flag(connection, FLAG, "ann", "enough", later, share=0.0)
    guard.prune(database, later)
    with database.reading() as connection:
        for each in (FLAG_OUTCOMES, FLAG_TRUTHS):
            assert connection.execute(sa.select(sa.func.count()).select_from(each)).scalar() == 0


def test_a_policy_of_a_test_or_with_approvals_is_refused(database: Database) -> None:
    with database.writing() as connection, pytest.raises(FlagError, match="approvals"):
        guard.start(connection, FLAG, "ann", "x", 1.0, POLICY.model_copy(update={"approvals": 1}))
