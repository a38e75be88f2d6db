"""One machine of the simulated year: it runs the loop's commands as they are, by a clock that it is told.

    python -m demo.year_worker

Each line of its input is a task in JSON; each answer is a line of JSON. The commands run in this process, which has
imported their libraries already, and `time.time` is the clock of the year: what is written bears the year's times.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, EVIDENCE, REPLICAS, TALLIES
from marina.monitoring.alerts import Finding, open_alert
from marina.pipelines import commands
from marina.pipelines.commands import Done
from marina.pipelines.loop import LeaseLostError, Loop
from marina.pipelines.step_list import Family
from marina.releases import lease, ledger, replica_status
from marina.releases.declarations import declare, read_archive
from marina.releases.lease import Lease
from marina.rollout import archive_lookup, rollouts
from marina.rollout.controller import Controller
from marina.settings import ROOT, Settings, read_settings
from training.catalog import recipe, release  # noqa: F401 - imported before a week waits for it
from training.packaging.sbom import software_bill

FAMILY: Final = "catalog"
MODEL: Final = "catalog"
TICK_S: Final = 600.0
"""Between two looks of the rollout's controller."""

LONGEST_ROLLOUT_S: Final = 5 * 86_400.0
USERS_PER_TICK: Final = 600
CANARY_MS: Final = 5
AGAIN_S: Final = 0.05
SILENT_S: Final = 0.5
"""A week passes in seconds here: who holds a lease and is silent for so long has lost it."""


def main() -> int:
    clock, real = Clock(), sys.stdout
    time.time = clock  # the injected clock: whatever runs here takes it for the time
    lease.LEASE_S, lease.RENEW_S = SILENT_S, SILENT_S / 5
    machine = Machine(read_settings(), clock)
    software_bill()  # kept for all archives that are built here
    for line in sys.stdin:
        task = json.loads(line)
        clock.now = task.pop("at")
        answer = getattr(machine, task.pop("do"))(**task)
        print(json.dumps(answer), file=real, flush=True)
    machine.database.close()
    return 0


class Clock:
    """The time of the year: what it was set to, and what has passed since by a clock that is never set."""

    def __init__(self) -> None:
        self._now, self._since = time.time(), time.monotonic()

    def __call__(self) -> float:
        return self._now + time.monotonic() - self._since

    @property
    def now(self) -> float:
        """Seconds since 1970; it may be set."""
        return self()

    @now.setter
    def now(self, value: float) -> None:
        self._now, self._since = value, time.monotonic()


class Machine:
    """What is done on one machine; the public methods are the tasks."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.database = Database(settings.database, first=True)
        self.database.upgrade()
        self._settings, self._clock = settings, clock
        self._lease = Lease("loop", f"year {os.getpid()}")
        commands.run = run_here  # what a command starts runs here too

    def load(self, path: str) -> dict[str, Any]:
        """Import a file."""
        done = self._command("load_data.py", "import", "--family", FAMILY, path, "--json")
        return {"exit": done.exit, **done.result}

    def loop(self, held_out: str, daily: bool) -> dict[str, Any]:
        """Take the loop one step: load, train and decide, as far as they are due."""
        loop = replace(
            Loop.of(self._settings, self.database, [Family(FAMILY, held_out=held_out)], daily=daily),
            lease=self._lease,
            scripts=ROOT / "scripts",
            chores=(),
            clock=self._clock,
            run=run_here,
        )
        while True:
            with contextlib.suppress(LeaseLostError):  # who was killed has it for some seconds more
                return {"failed": loop.step()}
            time.sleep(AGAIN_S)

    def serve(self) -> dict[str, Any]:
        """Declare the first version that the store has, as the server does when it starts."""
        with self.database.reading() as connection:
            if connection.execute(sa.select(DECLARATIONS.c.version)).first():
                return {}
        found = sorted(self._settings.archive_store.glob(f"{MODEL}-*.mar"))
        for path in found[:1]:
            one = read_archive(path, trust=archive_lookup.trust(self._settings))
            with self.database.writing() as connection:
                ledger.lock(connection)
                declare(connection, replace(one, weight=100.0), self._clock())
                ledger.declared(connection, "serve", [MODEL], self._clock())
        return {"served": [path.name for path in found[:1]]}

    def release(self) -> dict[str, Any]:
        """Let the controller carry an open rollout through, with users who find both versions sound."""
        lines: list[str] = []
        controller = Controller(self.database, Lease("controller", f"year {os.getpid()}"), lines.append)
        ends = self._clock.now + LONGEST_ROLLOUT_S
        while self._clock.now < ends and (one := self._open()) is not None:
            self._clock.now += TICK_S
            self._supervise()
            self._answer(one)
            if not controller.step(self._clock.now):
                time.sleep(AGAIN_S)
        with self.database.writing() as connection:
            controller._lease.give_back(connection)
            return {
                "live": rollouts.stable_of(connection, MODEL),
                "open": self._open() is not None,
                "now": self._clock.now,
            }

    def alarm(self, effect: float, what: str) -> dict[str, Any]:
        """Raise an alarm about drift, as the watcher does; no one has decided about it."""
        with self.database.reading() as connection:
            version = rollouts.stable_of(connection, MODEL)
        found = Finding(MODEL, version, "drift", "drift", "alert", what, self._clock(), effect, 9.0, 3.0, "", "")
        return {"alert": open_alert(self.database, found, self._clock())}

    def decide(self, alert: int, action: str, why: str) -> dict[str, Any]:
        """Decide about an alarm."""
        options = ["--action", action, "--why", why, "--who", "ann"]
        return {"exit": self._command("alerts.py", "decide", str(alert), *options).exit}

    def _command(self, script: str, *arguments: str) -> Done:
        return run_here([sys.executable, str(ROOT / "scripts" / script), *arguments], 600.0)

    def _open(self) -> rollouts.Rollout | None:
        with self.database.reading() as connection:
            return rollouts.rollout_of(connection, MODEL)

    def _supervise(self) -> None:
        """Report everything that is declared as ready."""
        with self.database.writing() as connection:
            connection.execute(sa.delete(REPLICAS))
            for row in connection.execute(sa.select(DECLARATIONS)).all():
                shared = {name: getattr(row, name) for name in ("model", "version", "sha256", "weight")}
                report = {
                    "replica": "year",
                    "state": "ready",
                    "reason": "",
                    "seen_at": replica_status.clock(connection),
                }
                connection.execute(sa.insert(REPLICAS), report | shared)

    def _answer(self, one: rollouts.Rollout) -> None:
        """Count the users' requests: none fails, and both versions are equally fast."""
        start = int(self._clock.now) // 60 * 60
        with self.database.writing() as connection:
            for version in (one.stable, one.canary):
                row = {"model": MODEL, "version": version, "replica": "year", "start": start}
                counts = {"requests": USERS_PER_TICK, "errors": 0}
                latencies = json.dumps({str(CANARY_MS): USERS_PER_TICK})
                self.database.put(connection, EVIDENCE, [row | counts | {"latencies": latencies}])
                if one.watched_since is not None and start >= one.watched_since:
                    tally = {"rollout": one.id, "version": version, "sticky": False, "replica": f"year {start}"}
                    tally |= counts | {"shared": 0, "timed": USERS_PER_TICK, "slow": 0, "step": one.step}
                    self.database.put(connection, TALLIES, [tally])


def run_here(
    command: Sequence[str], limit_s: float, may_continue: Callable[[], bool] = lambda: True, cwd: str | None = None
) -> Done:
    """Run a Python command in this process, as `marina.pipelines.commands.run` does elsewhere, without time limit."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = list(command[1:])
    status = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_path(command[1], run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    said, wrong = out.getvalue(), err.getvalue()
    print(*command[1:], said, wrong, sep="\n", file=sys.__stderr__)
    return Done(status, commands.last_json(said), (said[-commands.TAIL :] + wrong[-commands.TAIL :]).strip())


if __name__ == "__main__":
    sys.exit(main())
