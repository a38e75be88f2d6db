"""Dagster itself, with steps that are small programs: schedules, failures, and what a kill leaves."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.loop_tables import LOOP_STEPS
from marina.pipelines.orchestrator_home import MARK, make_home, postgres_url
from marina.serving.temporary_server import free_ports
from marina.settings import Settings
from tests import postgres
from tests.serving import ROOT

pytest.importorskip("dagster", reason="pip install --require-hashes -c constraints.txt --group orchestrator")

PROGRAM = """
import os, pathlib, sys, time
here = pathlib.Path(__file__)
hold = here.with_suffix(".hold")
here.with_suffix(".pid").write_text(str(os.getpid()))
while hold.exists():
    time.sleep(0.05)
takes = here.with_name("takes")
time.sleep(float(takes.read_text()) if takes.exists() else 0)
status = int(here.with_suffix(".exit").read_text()) if here.with_suffix(".exit").exists() else 0
if not status:
    with here.with_name("done").open("a") as done:
        done.write(here.stem + "\\n")
print({result!r})
sys.exit(status)
"""
RESULTS = {
    "load_data": '{"data": "week.csv"}',
    "auto_train": '{"trained": [{"model": "catalog", "version": "2.0"}]}',
    "evaluate_models": "",
    "auto_promote": '{"outcome": "promote"}',
    "check_drift": "",
    "check_held_out": "",
    "retention": '{"deleted": 0}',
    "backup": "",
    "weekly_report": '{"files": []}',
}
WEEK = ["load_data", "auto_train", "evaluate_models", "auto_promote"]
CHORES = ["check_drift", "check_held_out", "retention", "backup", "weekly_report"]
KILLS = int(os.environ.get("MARINA_TEST_KILLS", "0"))
"""At random moments; 20 for the whole claim."""

LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
RUNS = "{ runsOrError { ... on Runs { results { jobName status rootRunId tags { key value } } } } }"


@dataclass
class Running:
    """An orchestrator with a folder of its own."""

    folder: Path
    database: str
    due: datetime.datetime
    port: int = field(default_factory=lambda: free_ports(1)[0])

    @property
    def scripts(self) -> Path:
        return self.folder / "scripts"

    def call(self, mode: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "state_dir": str(self.folder / "state"), "database_url": self.database, "ml_commands": str(self.scripts),
            "orchestrator_port": str(self.port), "ml_families": '["catalog"]',
            "ml_held_out": '{"catalog": "kept.csv"}', "ml_retry_pause_s": "1", "backup_destination": "/backups",
            "ml_training_schedule": f"{self.due:%a %H:%M}", "ml_daily_schedule": f"{self.due:%H:%M}",
            "ml_time_zone": "Etc/UTC",
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "orchestrator.py"), mode],
            env={**os.environ, **{f"MARINA_{name.upper()}": value for name, value in settings.items()}},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def start(self) -> None:
        done = self.call("start")
        assert done.returncode == 0, done.stderr + self.call("logs").stdout

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)["data"]
        return found

    def launch(self, job: str, partition: str) -> None:
        selector = {"repositoryLocationName": "marina", "repositoryName": "__repository__", "jobName": job}
        tags = [{"key": "dagster/partition", "value": partition}]
        asked = {"selector": selector, "executionMetadata": {"tags": tags}, "runConfigData": {}}
        assert self.ask(LAUNCH, p=asked)["launchRun"]["__typename"] == "LaunchRunSuccess"

    def statuses(self, partition: str) -> list[tuple[str, str]]:
        """Return the job and the status of each run of a partition, retries included."""
        runs = self.ask(RUNS)["runsOrError"]["results"]
        own = {"key": "dagster/partition", "value": partition}
        return sorted((run["jobName"], run["status"]) for run in runs if own in run["tags"])

    def hold(self, *names: str) -> None:
        for name in names:
            (self.scripts / f"{name}.pid").unlink(missing_ok=True)
            (self.scripts / f"{name}.hold").touch()

    def release(self, *names: str) -> None:
        for name in names:
            (self.scripts / f"{name}.hold").unlink()

    def process_of(self, name: str) -> int:
        """Wait until a step runs, and return its process id."""
        path = self.scripts / f"{name}.pid"
        wait(lambda: path.exists() and bool(path.read_text()), f"{name} runs", 90)
        return int(path.read_text())

    def processes(self, words: str) -> list[psutil.Process]:
        """Return the orchestrator's processes with these words in their command."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.folder / "state" / "orchestrator"):
                    found += [process] if words in " ".join(process.cmdline()) else []
            except psutil.Error:
                continue
        return found

    def done(self) -> Counter[str]:
        """Return how often each step came to its end since the last time."""
        path = self.scripts / "done"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return Counter(lines)

    def recorded(self, run: str) -> dict[str, tuple[str, int]]:
        """Return the state and the attempts of each step of a run."""
        url = self.database or f"sqlite:///{self.folder}/state/marina.db"
        database = Database(url)
        try:
            with database.reading() as connection:
                rows = connection.execute(sa.select(LOOP_STEPS).where(LOOP_STEPS.c.run == run)).all()
        finally:
            database.close()
        return {row.step: (row.state, row.attempts) for row in rows}


def wait(condition: Callable[[], bool], what: str, limit_s: float) -> None:
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends, f"not in {limit_s} s: {what}"
        time.sleep(0.3)


def minute_in(seconds: float) -> datetime.datetime:
    """Return the first full minute after so many seconds."""
    after = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return after.replace(second=0, microsecond=0) + datetime.timedelta(minutes=1)


def start_s() -> float:
    """Return about how long a start takes as busy as this machine is: it imports Dagster some times over."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import dagster"], check=True)
    return 5 + 6 * (time.monotonic() - began)


def make(folder: Path, due: datetime.datetime, database: str = "") -> Running:
    made = Running(folder, database, due)
    made.scripts.mkdir(parents=True)
    for name, result in RESULTS.items():
        (made.scripts / f"{name}.py").write_text(PROGRAM.format(result=result))
    return made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An orchestrator on SQLite; its schedules are due soon after its start."""
    made = make(tmp_path_factory.mktemp("orchestrator"), minute_in(start_s()))
    try:
        began = time.monotonic()
        made.start()
        took_s = time.monotonic() - began
        if made.due < datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=5):  # it took too long
            made.call("stop")
            made.due = minute_in(10 + 2 * took_s)
            made.start()
        yield made
    finally:
        assert made.call("stop").returncode == 0
        assert made.processes("") == []


@pytest.mark.slow
def test_its_daemon_runs_week_day_and_chores_when_they_are_due_and_its_pages_answer(running: Running) -> None:
    assert running.call("status").returncode == 0
    partition = running.due.date().isoformat()
    jobs = ["daily_catalog", "daily_chores", "weekly_catalog", "weekly_chores"]
    until_due_s = max(0.0, (running.due - datetime.datetime.now(datetime.UTC)).total_seconds())
    succeeded = [(job, "SUCCESS") for job in jobs]
    wait(lambda: running.statuses(partition) == succeeded, f"{jobs} succeed", until_due_s + 300)
    done = running.done()
    assert done == Counter([*WEEK, *WEEK[1:], *CHORES])
    assert running.recorded(f"weekly {partition}")["promote catalog"] == ("done", 1)


@pytest.mark.slow
def test_a_step_that_fails_stops_what_follows(running: Running) -> None:
    partition = (running.due - datetime.timedelta(days=7)).date().isoformat()
    (running.scripts / "auto_train.exit").write_text("4")
    running.launch("weekly_catalog", partition)
    wait(lambda: running.statuses(partition) == [("weekly_catalog", "FAILURE")], "it fails", 180)
    (running.scripts / "auto_train.exit").unlink()
    assert running.done() == Counter(["load_data"])
    assert set(running.recorded(f"weekly {partition}")) == {"load", "train"}


@pytest.mark.slow
def test_whatever_is_killed_the_end_is_the_same(running: Running) -> None:
    partition = (running.due - datetime.timedelta(days=14)).date().isoformat()
    running.hold(*WEEK)
    running.launch("weekly_catalog", partition)

    os.kill(running.process_of("load_data"), signal.SIGKILL)  # a step's command
    running.release("load_data")

    running.process_of("auto_train")
    (asset,) = running.processes("run_step.py")
    asset.kill()  # what an asset started
    time.sleep(1.0)
    running.release("auto_train")

    running.process_of("evaluate_models")
    runner = next(parent for parent in running.processes("run_step.py")[0].parents() if parent.pid > 1)
    runner.kill()  # the run's own process
    running.release("evaluate_models")

    running.process_of("auto_promote")
    (daemon,) = running.processes("dagster._daemon")
    daemon.kill()
    wait(lambda: any(one.pid != daemon.pid for one in running.processes("dagster._daemon")), "a new daemon", 30)
    running.release("auto_promote")

    wait(lambda: ("weekly_catalog", "SUCCESS") in running.statuses(partition), "the run succeeds", 240)
    assert [status for _, status in running.statuses(partition)] == ["FAILURE", "SUCCESS"], "the first was killed"
    assert running.done() == Counter(WEEK)
    steps = running.recorded(f"weekly {partition}")
    assert {state for state, _ in steps.values()} == {"done"} and len(steps) == 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not KILLS, reason="kills at random moments take a minute each: MARINA_TEST_KILLS=20")
def test_whenever_it_is_killed_the_end_is_the_same(running: Running) -> None:
    chance, killed, week = random.Random(KILLS), Counter[str](), 3
    (running.scripts / "takes").write_text("3")  # seconds, so that there is something to kill
    while killed.total() < KILLS:
        partition = (running.due - datetime.timedelta(days=7 * week)).date().isoformat()
        running.launch("weekly_catalog", partition)
        of_this_week = Counter[str]()
        ends = time.monotonic() + 600
        while not succeeded(running, partition):
            assert time.monotonic() < ends, f"week {week}, killed {of_this_week}"
            time.sleep(chance.uniform(0, 8))
            what = chance.choice(["step", "asset", "run", "daemon", "code server"])
            with contextlib.suppress(psutil.Error):  # it ended by itself
                if killed.total() < KILLS and of_this_week[what] < 2 and kill(running, what):
                    of_this_week[what] += 1
                    killed[what] += 1
        # what is killed between its work and its record is done again: the commands see to it that once is enough
        assert set(running.done()) >= set(WEEK), f"killed {of_this_week}"
        steps = running.recorded(f"weekly {partition}")
        assert {state for state, _ in steps.values()} == {"done"} and len(steps) == 5
        print(f"week {week}: killed {dict(of_this_week)}; {running.statuses(partition)}")
        week += 1
    (running.scripts / "takes").unlink()


def succeeded(running: Running, partition: str) -> bool:
    """Tell whether the week is done, where the pages answer: with the code server, they are started again."""
    with contextlib.suppress(OSError):
        return ("weekly_catalog", "SUCCESS") in running.statuses(partition)
    return False


def kill(running: Running, what: str) -> bool:
    """Kill a step's command, what an asset started, the run's own process, or one of Dagster's; tell whether it ran."""
    started = running.processes("run_step.py")
    found = {
        "step": [child for one in started for child in one.children()],
        "asset": started,
        "run": [one.parents()[0] for one in started],
        "daemon": running.processes("dagster._daemon"),
        "code server": running.processes("api grpc"),
    }[what]
    for process in found[:1]:
        process.kill()
    return bool(found)


@pytest.mark.slow
def test_after_a_power_cut_it_resumes_on_postgresql(tmp_path: Path, postgres_server: postgres.Postgres) -> None:
    later = minute_in(12 * 3600)  # its schedules have no part in this
    running = make(tmp_path, later, postgres_server.fresh(f"t{uuid.uuid4().hex}"))
    partition = (running.due - datetime.timedelta(days=7)).date().isoformat()
    try:
        running.start()
        running.hold("auto_train")
        running.launch("weekly_catalog", partition)
        running.process_of("auto_train")
        for process in [*running.processes(""), psutil.Process(int(pid_of(running)))]:
            process.kill()
        assert running.call("status").returncode == 3
        running.release("auto_train")
        running.start()
        wait(lambda: ("weekly_catalog", "SUCCESS") in running.statuses(partition), "the run succeeds", 240)
        assert running.done() == Counter(WEEK)
        assert running.recorded(f"weekly {partition}")["load"] == ("done", 1)
    finally:
        running.call("stop")


def pid_of(running: Running) -> str:
    return (running.folder / "state" / "orchestrator" / "pid").read_text()


def test_its_tables_in_postgresql_are_apart_from_ours() -> None:
    url = postgres_url("postgresql://marina:a%40b@host:5432/name?sslmode=require")
    assert url == (
        "postgresql+psycopg2://marina:a%40b@host:5432/name?options=-csearch_path%3Dorchestrator&sslmode=require"
    )
    assert postgres_url("sqlite:////tmp/marina.db") is None


def test_a_start_that_fails_leaves_nothing_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sockets").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "sockets"))
    (tmp_path / "state" / "orchestrator" / "workspace.yaml").mkdir(parents=True)
    with pytest.raises(IsADirectoryError), make_home(Settings(state_dir=tmp_path / "state")):
        pass
    assert list((tmp_path / "sockets").iterdir()) == []
