"""The loop with commands that are small programs: what follows what, what a kill leaves, and who acts."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.loop_tables import LOOP_STEPS
from marina.monitoring.loop_metrics import collect_loop
from marina.pipelines import commands
from marina.pipelines.loop import LeaseLostError, Loop
from marina.pipelines.schedule import parse
from marina.pipelines.step_list import Family
from marina.pipelines.week_decisions import read_decisions
from marina.releases.lease import LEASE_S, Lease
from tests.marina.pipelines.test_schedule import PARIS, at

SCRIPT = """
import json, pathlib, sys, time
here = pathlib.Path(__file__)
with here.with_name("calls").open("a") as calls:
    calls.write(" ".join([here.stem, *sys.argv[1:]]) + "\\n")
wait = here.with_suffix(".wait")
if wait.exists():
    time.sleep(float(wait.read_text()))
print("words before")
print({result!r})
exits = [here.parent / (name + ".exit") for name in [here.stem, *sys.argv[1:]]]
sys.exit(next((int(path.read_text()) for path in exits if path.exists()), 0))
"""
RESULTS = {
    "load_data": '{"data": "week.csv"}',
    "auto_train": '{"trained": [{"model": "catalog", "version": "2.0"}]}',
    "auto_promote": '{"outcome": "promote"}',
}
MONDAY = "2026-11-23 01:30"


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name, result in RESULTS.items():
        (folder / f"{name}.py").write_text(SCRIPT.format(result=result))
    return folder


@pytest.fixture
def calls(scripts: Path) -> Callable[[], list[str]]:
    """Return what was called since the last time, without the time that trainings are told."""

    def read() -> list[str]:
        path = scripts / "calls"
        found = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.partition(" --since")[0].partition(" --week")[0] for line in found]

    return read


def loop_of(database: Database, scripts: Path, now: str = MONDAY, holder: str = "a", daily: bool = False) -> Loop:
    started = time.time()
    weekly, days = parse("weekly", "Mon 02:00", PARIS), parse("daily", "01:00", PARIS) if daily else None
    return Loop(
        database=database,
        lease=Lease("loop", holder),
        families=[Family("catalog", held_out="kept.csv")],
        weekly=weekly,
        daily=days,
        scripts=scripts,
        folder=scripts / "data",
        training_limit_s=30.0,
        report=lambda line: None,
        clock=lambda: at(now) + time.time() - started,
    )


def metric(database: Database) -> str:
    with database.reading() as connection:
        return "".join("".join(one) for one in collect_loop(connection, 0.0))


WEEK = [
    "load_data release --family catalog",
    "auto_train --family catalog --data week.csv",
    "auto_promote --model catalog --version 2.0 --data kept.csv --who loop",
]


def test_a_week_is_loaded_trained_and_decided_once(
    database: Database, scripts: Path, calls: Callable[[], list[str]]
) -> None:
    assert "{family=" not in metric(database)
    assert loop_of(database, scripts).step() == []
    assert "--week 2026-W48 " in (scripts / "calls").read_text()  # of its Monday, by whichever clock
    assert calls() == WEEK
    assert 'marina_loop_last_success_timestamp_seconds{family="catalog"} 1' in metric(database)
    assert loop_of(database, scripts).step() == [] and calls() == []
    assert loop_of(database, scripts, "2026-11-30 02:00").step() == [] and calls() == WEEK


def test_a_week_is_reported_on_once_after_its_decisions(
    database: Database, scripts: Path, calls: Callable[[], list[str]]
) -> None:
    (scripts / "weekly_report.py").write_text(SCRIPT.format(result='{"files": ["week.md"]}'))
    made = replace(loop_of(database, scripts), chores=["report", "backup"])  # a backup is of days, which it has not
    assert made.step() == [] and calls() == [*WEEK, "weekly_report --json"]
    assert made.step() == [] and calls() == []
    (scripts / "weekly_report.exit").write_text("1")
    later = replace(loop_of(database, scripts, "2026-11-30 02:00"), chores=["report"])
    assert later.step() == ["weekly 2026-11-30 report"] and calls() == [*WEEK, "weekly_report --json"]
    (scripts / "auto_train.exit").write_text("1")
    begun = replace(loop_of(database, scripts, "2026-12-07 02:00"), chores=["report"])
    assert begun.step() == ["weekly 2026-12-07 catalog"] and calls() == WEEK[:2], "its decision is to come"
    (scripts / "auto_train.exit").write_text("4")
    ended = replace(loop_of(database, scripts, "2026-12-07 03:00"), chores=["report"])
    assert ended.step() == ["weekly 2026-12-07 catalog", "weekly 2026-12-07 report"]
    assert calls() == [WEEK[1], "weekly_report --json"], "it is not attempted again in this run"


def test_a_decision_that_waits_does_not_hold_back_the_weeks_report(
    database: Database, scripts: Path, calls: Callable[[], list[str]]
) -> None:
    (scripts / "weekly_report.py").write_text(SCRIPT.format(result='{"files": ["week.md"]}'))
    (scripts / "auto_promote.exit").write_text(str(commands.WAIT))
    for now, called in ((MONDAY, [*WEEK, "weekly_report --json"]), ("2026-11-24 02:00", WEEK[2:])):
        assert replace(loop_of(database, scripts, now), chores=["report"]).step() == [] and calls() == called
    with database.reading() as connection:
        (one,) = read_decisions(connection, at(MONDAY), at("2026-11-30 01:30"))
    assert (one.what, one.run, one.outcome) == ("catalog 2.0", "weekly 2026-11-23", "waits")
    (scripts / "auto_promote.exit").unlink()
    decided = replace(loop_of(database, scripts, "2026-11-30 02:00"), chores=["report"])
    assert decided.step() == [] and calls() == [WEEK[2], *WEEK, "weekly_report --json"]


def test_each_day_asks_whether_to_train_on_what_was_loaded_last(
    database: Database, scripts: Path, calls: Callable[[], list[str]]
) -> None:
    assert loop_of(database, scripts).step() == []
    calls()
    (scripts / "auto_train.exit").write_text("3")
    (scripts / "auto_train.py").write_text(SCRIPT.format(result='{"trained": []}'))
    assert loop_of(database, scripts, "2026-11-25 01:00", daily=True).step() == []
    assert calls() == ["auto_train --family catalog --data week.csv"]


@pytest.mark.parametrize(
    ("name", "status", "begun"), [("load_data", 1, 1), ("auto_train", 5, 2), ("auto_promote", 1, 3)]
)
def test_a_step_that_fails_stops_what_follows_and_is_tried_again_later(
    database: Database, scripts: Path, calls: Callable[[], list[str]], name: str, status: int, begun: int
) -> None:
    (scripts / f"{name}.exit").write_text(str(status))
    loop = loop_of(database, scripts)
    assert loop.step() == ["weekly 2026-11-23 catalog"] and calls() == WEEK[:begun]
    assert 'family="catalog"} 0' in metric(database)
    loop.step()
    assert calls() == [], "not at once"
    (scripts / f"{name}.exit").unlink()
    later = loop_of(database, scripts, "2026-11-23 01:45")
    assert later.step() == [] and calls() == WEEK[begun - 1 :]


def test_bad_data_is_not_tried_again_and_a_failure_three_times(
    database: Database, scripts: Path, calls: Callable[[], list[str]]
) -> None:
    (scripts / "auto_train.exit").write_text("4")
    loop_of(database, scripts).step()
    calls()
    assert loop_of(database, scripts, "2026-11-28 12:00").step() != [] and calls() == []
    (scripts / "load_data.exit").write_text("1")
    for hour in (2, 5, 8, 11, 14):
        loop_of(database, scripts, f"2026-11-30 {hour:02}:00").step()
    assert calls() == 3 * [WEEK[0]]
    (scripts / "load_data.exit").unlink()
    mended = loop_of(database, scripts, "2026-11-30 14:10")
    asked = ("weekly 2026-11-30", mended.families[0], "load")
    assert mended.one(*asked) is None and calls() == [], "whoever mended it says so"
    assert replace(mended, again=True).one(*asked) == {"data": "week.csv"} and calls() == [WEEK[0]]
    assert replace(mended, again=True).one(*asked) == {"data": "week.csv"} and calls() == [], "what is done is done"


@pytest.mark.parametrize("outcome", [3, 4])
def test_kept_and_inconclusive_are_no_failures(
    database: Database, scripts: Path, calls: Callable[[], list[str]], outcome: int
) -> None:
    (scripts / "auto_promote.exit").write_text(str(outcome))
    assert loop_of(database, scripts).step() == [] and calls() == WEEK


def test_a_decision_that_has_to_wait_is_no_failure_and_is_asked_again_until_it_is_made(
    database: Database, scripts: Path, calls: Callable[[], list[str]]
) -> None:
    (scripts / "auto_promote.exit").write_text(str(commands.WAIT))
    assert loop_of(database, scripts).step() == [] and calls() == WEEK
    assert loop_of(database, scripts).step() == [] and calls() == [], "not at once"
    for hour in range(2, 7):  # more often than a failure is tried
        assert loop_of(database, scripts, f"2026-11-23 {hour:02}:00").step() == [] and calls() == WEEK[2:]
    assert 'family="catalog"} 0' in metric(database)
    (scripts / "load_data.exit").write_text("1")
    assert loop_of(database, scripts, "2026-11-30 02:00").step() != [] and calls() == [WEEK[2], WEEK[0]]
    (scripts / "auto_promote.exit").unlink()
    loop_of(database, scripts, "2026-12-01 02:00").step()
    assert WEEK[2] in calls(), "though a week has gone by, what was trained is decided"
    loop_of(database, scripts, "2026-12-01 03:00").step()
    assert WEEK[2] not in calls()


def test_a_training_that_has_to_wait_holds_back_what_follows(
    database: Database, scripts: Path, calls: Callable[[], list[str]]
) -> None:
    (scripts / "auto_train.exit").write_text(str(commands.WAIT))
    assert loop_of(database, scripts).step() == [] and calls() == WEEK[:2]
    (scripts / "auto_train.exit").unlink()
    assert loop_of(database, scripts, "2026-11-23 02:00").step() == [] and calls() == WEEK[1:]


def test_a_family_that_keeps_no_rows_trains_on_data_of_its_own(
    database: Database, scripts: Path, calls: Callable[[], list[str]]
) -> None:
    (scripts / "load_data.py").write_text(SCRIPT.format(result='{"state": "no rows"}'))
    assert loop_of(database, scripts).step() == []
    assert calls()[:2] == [WEEK[0], "auto_train --family catalog"]


def test_of_two_loops_one_acts_and_the_other_takes_over_when_it_is_silent(
    database: Database, scripts: Path, calls: Callable[[], list[str]]
) -> None:
    (scripts / "load_data.exit").write_text("1")
    loop_of(database, scripts).step()
    other = loop_of(database, scripts, "2026-11-23 02:30", holder="b")
    passed = 0.0
    other.lease = Lease("loop", "b", lambda: passed)
    with pytest.raises(LeaseLostError):
        other.step()
    assert len(calls()) == 1
    passed = LEASE_S + 1
    other.step()
    assert len(calls()) == 1


def test_a_loop_that_loses_the_lease_ends_its_command_and_writes_nothing(database: Database, scripts: Path) -> None:
    (scripts / "load_data.wait").write_text("30")
    loop = loop_of(database, scripts)
    thief = Lease("loop", "b", lambda: passed)
    passed = 0.0

    def run(command: list[str], limit_s: float, may_continue: Callable[[], bool]) -> commands.Done:
        nonlocal passed
        for _ in range(2):
            with database.writing() as connection:
                thief.take(connection, 0.0)
            passed += LEASE_S + 1
        loop.lease._renewed_at = None
        return commands.run(command, limit_s, may_continue)

    loop.run = run
    began = time.monotonic()
    with pytest.raises(LeaseLostError):
        loop.step()
    assert time.monotonic() - began < 20
    with database.reading() as connection:
        assert connection.execute(sa.select(LOOP_STEPS.c.state)).scalars().all() == ["running"]


def take_a_step(url: str, scripts: Path) -> None:
    """Be the process that is killed."""
    loop_of(Database(url), scripts, holder="killed").step()


@pytest.fixture(scope="module")
def forks() -> ForkServerContext:
    """Make processes of one that has imported all this, which takes longer than the rest."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@pytest.mark.parametrize("name", ["load_data", "auto_train", "auto_promote"])
def test_killed_in_any_step_and_started_again_it_continues_there(
    database: Database,
    database_url: str,
    scripts: Path,
    calls: Callable[[], list[str]],
    forks: ForkServerContext,
    name: str,
) -> None:
    (scripts / f"{name}.wait").write_text("60")
    process = forks.Process(target=take_a_step, args=(database_url, scripts))
    process.start()
    ends = time.monotonic() + 30
    while time.monotonic() < ends and name not in (
        (scripts / "calls").read_text() if (scripts / "calls").exists() else ""
    ):
        time.sleep(0.05)
    process.kill()
    process.join()
    (scripts / f"{name}.wait").unlink()
    before = calls()
    again = loop_of(database, scripts, holder="killed")
    assert again.step() == []
    assert before + calls() == WEEK[: len(before)] + WEEK[len(before) - 1 :]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "import pathlib, subprocess, sys, time\n"
        "one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(one.pid)); time.sleep(60)"
    )
    done = commands.run([sys.executable, "-c", code], 1.5)
    assert done.exit == commands.TIMED_OUT
    ends = time.monotonic() + 5
    while alive(int(pid.read_text())) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not alive(int(pid.read_text()))


def test_the_last_line_is_the_result() -> None:
    done = commands.run([sys.executable, "-c", "print('a'); print('{\"b\": 1}')"], 30.0)
    assert (done.exit, done.result) == (0, {"b": 1})
    assert commands.run([sys.executable, "-c", "print('no JSON'); raise SystemExit(4)"], 30.0).result == {}
    assert commands.last_json("[1]") == {} and commands.last_json("") == {}
    assert commands.run(["sleep", "60"], 60.0, lambda: False).exit == commands.STOPPED
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
