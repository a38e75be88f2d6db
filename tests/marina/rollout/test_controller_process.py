"""The controller as a process: killed anywhere, told to stop, without its database."""

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

from marina.database.connection import Database
from marina.processes.guard import Guard
from marina.releases.lease import Lease
from marina.rollout import rollouts, verdicts
from marina.rollout.controller import Controller
from marina.rollout.policy.schema import TrafficStep
from marina.serving.control_socket import ControlClient, ControlServer
from marina.serving.traffic_routes import Routes
from marina.settings import ROOT
from tests.marina.rollout.releases import NOW, actions, bad, begin, declared, good, latest, serve, supervise


def _carry_on(
    url: str, seed: int, clock: "Synchronized[float]", link: Path | None = None, killed: bool = False
) -> None:
    """Run controller and supervisor until all has ended, or the controller is killed.

    Before some statement; or, where there is a link, once it has told of a retreat by it.
    """
    rng = random.Random(seed)
    left = itertools.count(1_000_000 if link else rng.randrange(1, 150), -1)
    world, own = Database(url), Database(url)

    @sa.event.listens_for(own.engine, "before_cursor_execute")
    def die(*_: object) -> None:
        if next(left) <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @sa.event.listens_for(own.engine, "commit")
    def die_committing(_: object) -> None:
        if next(left) <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    lease = Lease("controller", f"{os.getpid()}", lambda: clock.value)

    def retreat(*words: str) -> None:
        if link is not None:
            ControlClient(link).retreat(*words)
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)

    controller = Controller(own, lease, lambda _: None, retreat)
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
        begin(database, model, steps=[TrafficStep(share=0.05, at_least_s=20), TrafficStep(share=1, at_least_s=20)])
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


def test_killed_between_verdict_and_commit_the_canary_is_not_asked_until_all_has_ended(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    routes = Routes(tmp_path)
    door = ControlServer(tmp_path / "link.sock", routes, lambda: None, Guard(lambda _: None))
    serve(database)
    begin(database, steps=[TrafficStep(share=0.05, at_least_s=20), TrafficStep(share=1, at_least_s=20)])
    bad(database, start=NOW + 86_400)
    fork = multiprocessing.get_context("fork")
    clock = fork.Value("d", NOW)
    for killed in (True, True, False):
        child = fork.Process(target=_carry_on, args=(database_url, 0, clock, tmp_path / "link.sock", killed))
        child.start()
        child.join()
        assert child.exitcode == (-signal.SIGKILL if killed else 0)
        weights = declared(database)
        assert weights == ({"1.0": 95, "2.0": 5} if killed else {"1.0": 100})
        in_force = routes.share("sums", list(weights.items()))
        assert in_force == ({"1.0": 100, "2.0": 0} if killed else {"1.0": 100})
    door.close()
    assert latest(database).phase == "rolled back"


def _process(url: str, tmp_path: Path) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MARINA_", "MLFLOW_"))}
    env |= {"MARINA_DATABASE_URL": url, "MARINA_STATE_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "marina.rollout.controller"]
    return subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _wait(done: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_process_acts_and_ends_when_it_is_told_to(database: Database, database_url: str, tmp_path: Path) -> None:
    serve(database, now=time.time())
    begin(database, now=time.time(), steps=[TrafficStep(share=1, at_least_s=0)])
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
        assert "the database is unavailable" in process.stdout.readline()
        folder.mkdir()
        made = Database(f"sqlite:///{folder}/marina.db")
        made.upgrade()
        made.close()
        assert "holds the lease" in process.stdout.readline()
        assert "the database is available again" in process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
