"""The controller carries rollouts through, whatever happens to it."""

import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import pytest
import sqlalchemy as sa

from events.database import Database
from events.tables import DECLARATIONS, ROLLOUTS
from rollout import ledger, orders, rollouts, verdicts
from rollout.controller import Controller
from rollout.declaration import Declared, declare
from rollout.lease import Lease
from rollout.policy import ABTest, PolicyError, Step
from rollout.rollouts import RolloutError
from settings import ROOT
from tests.rollout.releases import NOW, answer, begin, candidate, declared, latest, policy, serve, supervise

WATCHED = int(NOW) + 5  # the first whole window after the canary was let in


class Releases:
    """A controller and a supervisor under a clock that a test moves."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW
        self.told: list[str] = []
        self.controller = Controller(database, Lease("controller", "test", lambda: self.now), self.told.append)

    def run(self, seconds: float, every_s: float = 2.0, **states: str) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += every_s
            supervise(self.database, **states)
            self.controller.step(self.now)


@pytest.fixture
def releases(database: Database) -> Releases:
    serve(database)
    return Releases(database)


def good(database: Database, model: str = "sums", start: float = WATCHED) -> None:
    answer(database, 400, 1, NOW - 600, "1.0", model)  # for stable's p95
    answer(database, 5000, 20, start, "1.0", model)
    answer(database, 2000, 4, start, "2.0", model)


def bad(database: Database, model: str = "sums", start: float = WATCHED) -> None:
    good(database, model, start)
    answer(database, 2000, 100, start, "2.0", model)


def input_shares(database: Database) -> dict[str, float]:
    with database.reading() as connection:
        rows = connection.execute(sa.select(DECLARATIONS.c.version, DECLARATIONS.c.input_share)).all()
    return {row.version: row.input_share for row in rows}


def actions(database: Database, model: str = "sums") -> list[str]:
    with database.reading() as connection:
        assert ledger.verify(connection) == []
        return [entry.action for entry in ledger.entries(connection, model)]


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


def test_orders_are_obeyed(releases: Releases) -> None:
    database = releases.database
    begin(database)
    good(database)
    releases.run(3)
    orders.pause(database, "sums", "ben", releases.now)
    releases.run(70)
    assert latest(database).step == 0
    orders.resume(database, "sums", "ben", releases.now)
    releases.run(2)
    assert latest(database).step == 1
    orders.abort(database, "sums", "ben", "lunch", releases.now)
    assert declared(database) == {"1.0": 100, "2.0": 0}
    releases.run(2)
    assert latest(database).phase == "aborted" and "lunch" in latest(database).note
    assert actions(database)[-5:] == ["pause", "resume", "watching", "abort", "aborted"]


def test_all_traffic_waits_for_two_others(releases: Releases) -> None:
    database = releases.database
    begin(database, approvals=2)
    good(database)
    with pytest.raises(RolloutError, match="ann started it"):
        orders.approve(database, "sums", "ann", releases.now)
    releases.run(140)
    assert latest(database).phase == "watching" and "2 persons" in latest(database).note
    assert orders.approve(database, "sums", "ben", releases.now) == 1
    with pytest.raises(RolloutError, match="agreed already"):
        orders.approve(database, "sums", "ben", releases.now)
    assert orders.approve(database, "sums", "cem", releases.now) == 0
    releases.run(2)
    assert latest(database).phase == "probation"


def test_a_release_is_undone_by_loading_the_version_before(releases: Releases) -> None:
    database = releases.database
    begin(database)
    good(database)
    releases.run(200)
    assert declared(database) == {"2.0": 100}
    found: list[str] = []

    def find(model: str, version: str, archive: Path, sha256: str) -> Declared:
        found.extend((str(archive), sha256))
        return candidate(model, version)

    orders.roll_back(database, "sums", "ben", "bad", releases.now, find, policy())
    releases.run(4)
    assert declared(database) == {"1.0": 100} and latest(database).phase == "done"
    assert found == ["/archives/sums-1.0.mar", "1" * 64]


def undo(releases: Releases, to: str | None = None) -> None:
    def find(model: str, version: str, *_: object) -> Declared:
        return candidate(model, version)

    orders.roll_back(releases.database, "sums", "ben", "", releases.now, find, policy(), to)


def release(releases: Releases, version: str) -> None:
    begin(releases.database, version=version, now=releases.now, steps=[Step(share=1, at_least_s=0)])
    releases.run(4)
    assert declared(releases.database) == {version: 100}


def test_what_was_rolled_back_by_the_judge_is_not_rolled_back_further(releases: Releases) -> None:
    release(releases, "2.0")
    begin(releases.database, version="3.0", now=releases.now)
    releases.run(3)
    answer(releases.database, 2000, 100, int(releases.now) + 10, "3.0")
    releases.run(6)
    assert latest(releases.database).phase == "rolled back"
    with pytest.raises(RolloutError, match=r"ended as rolled back.*--to VERSION"):
        undo(releases)
    assert declared(releases.database) == {"2.0": 100}
    undo(releases, to="1.0")
    releases.run(4)
    assert declared(releases.database) == {"1.0": 100}


def test_a_rollback_that_is_ordered_twice_is_done_once(releases: Releases) -> None:
    release(releases, "2.0")
    undo(releases)
    for _ in range(4):  # while it is on its way, and when it is done
        with pytest.raises(RolloutError, match="was a rollback by hand"):
            undo(releases)
        releases.run(2)
    assert latest(releases.database).phase == "done" and declared(releases.database) == {"1.0": 100}
    with pytest.raises(RolloutError, match=r"no version 9\.0 that served"):
        undo(releases, to="9.0")
    with pytest.raises(RolloutError, match="served already"):
        undo(releases, to="1.0")
    release(releases, "3.0")
    undo(releases)  # a new release begins anew
    assert latest(releases.database).canary == "1.0"


def test_a_rollback_on_its_way_is_called_off_by_name(releases: Releases) -> None:
    release(releases, "2.0")
    undo(releases)
    undo(releases, to="2.0")
    releases.run(2)
    assert latest(releases.database).phase == "aborted" and declared(releases.database) == {"2.0": 100}


def test_a_rolled_back_canary_is_not_the_version_before(releases: Releases) -> None:
    release(releases, "2.0")
    begin(releases.database, version="3.0", now=releases.now)
    orders.abort(releases.database, "sums", "ben", "", releases.now)
    releases.run(4)
    release(releases, "4.0")
    undo(releases)
    assert latest(releases.database).canary == "2.0"


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
        orders.abort(database, "sums", "ben", "", releases.now)
    else:
        begin(database, now=releases.now, steps=[Step(share=0.05, at_least_s=20), Step(share=1, at_least_s=20)])
        releases.run(2)
        assert input_shares(database) == {"1.0": 0, "2.0": 0.5}  # the canary's answers go on being paired
        (bad if ending == "rolled back" else good)(database, start=NOW + 3600)
        if ending == "withdrawn":
            with database.writing() as connection:
                connection.execute(sa.delete(DECLARATIONS).where(DECLARATIONS.c.version == "1.0"))
        elif ending == "aborted":
            orders.abort(database, "sums", "ben", "", releases.now)
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


def _carry_on(url: str, seed: int, clock: "Synchronized[float]") -> None:
    """Run controller and supervisor until all has ended, or the controller is killed before some statement."""
    rng = random.Random(seed)
    left = itertools.count(rng.randrange(1, 150), -1)
    world, own = Database(url), Database(url)

    @sa.event.listens_for(own.engine, "before_cursor_execute")
    def die(*_: object) -> None:
        if next(left) <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @sa.event.listens_for(own.engine, "commit")
    def die_committing(_: object) -> None:
        if next(left) <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    controller = Controller(own, Lease("controller", f"{os.getpid()}", lambda: clock.value), lambda _: None)
    while True:
        clock.value += 2
        supervise(world)
        controller.step(clock.value)
        with world.reading() as connection:
            if not rollouts.open_rollouts(connection):
                os._exit(0)


MODELS = {f"good{n}": good for n in range(2)} | {f"bad{n}": bad for n in range(2)}
GOOD_WAY = ("done", {"2.0": 100.0}, ["declare", "start", "watching", "probation", "done"])
BAD_WAY = ("rolled back", {"1.0": 100.0}, ["declare", "start", "watching", "roll back", "rolled back"])


@pytest.mark.parametrize("seed", [1000, 2000, 3000, 4000])
def test_killed_anywhere_it_ends_as_if_it_had_not_been(database: Database, database_url: str, seed: int) -> None:
    for model, evidence in MODELS.items():
        serve(database, model)
        begin(database, model, steps=[Step(share=0.05, at_least_s=20), Step(share=1, at_least_s=20)])
        evidence(database, model, NOW + 86_400)  # however late the canary is let in
    fork = multiprocessing.get_context("fork")
    clock = fork.Value("d", NOW)
    for kills in range(100):
        child = fork.Process(target=_carry_on, args=(database_url, seed + kills, clock))
        child.start()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
    assert child.exitcode == 0 and kills >= 5, kills
    for model, evidence in MODELS.items():
        way = GOOD_WAY if evidence is good else BAD_WAY
        assert (latest(database, model).phase, declared(database, model), actions(database, model)) == way
        with database.reading() as connection:
            again = verdicts.replay(connection, latest(database, model))
        assert again.count and not again.faults


def _process(url: str, tmp_path: Path) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MARINA_", "MLFLOW_"))}
    env |= {"MARINA_DATABASE_URL": url, "MARINA_STATE_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "rollout.controller"]
    return subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _wait(done: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_process_acts_and_ends_when_it_is_told_to(database: Database, database_url: str, tmp_path: Path) -> None:
    serve(database, now=time.time())
    begin(database, now=time.time(), steps=[Step(share=1, at_least_s=0)])
    process = _process(database_url, tmp_path)
    try:

        def done() -> bool:
            supervise(database)
            return latest(database).phase == "done"

        _wait(done)
    finally:
        process.terminate()
        began = time.monotonic()
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and time.monotonic() - began < 5, output
    assert "probation" in output and declared(database) == {"2.0": 100}


def test_the_process_waits_for_a_database_that_is_away(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    process = _process(f"sqlite:///{folder}/marina.db", tmp_path)
    try:
        assert process.stdout is not None
        assert "the database does not answer" in process.stdout.readline()
        folder.mkdir()
        made = Database(f"sqlite:///{folder}/marina.db")
        made.upgrade()
        made.close()
        assert "acts" in process.stdout.readline()
        assert "answers again" in process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_every_rollout_begins_and_ends_with_a_row_of_its_own(releases: Releases) -> None:
    for version in ("2.0", "3.0"):
        begin(releases.database, version=version, now=releases.now)
        releases.run(3)
        orders.abort(releases.database, "sums", "ben", "", releases.now)
        releases.run(2)
    with releases.database.reading() as connection:
        assert connection.execute(sa.select(ROLLOUTS.c.phase)).scalars().all() == ["aborted", "aborted"]
