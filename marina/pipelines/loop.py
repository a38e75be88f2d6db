"""The loop: weekly load, training and decision for each family, and each day the question whether to train.

    load ─> train ─> promote MODEL … ─> finish

Each step is a command. Its exit status says whether the next one follows, and the JSON on its last line is what the
next one is given. One that has to wait, such as a decision while a rollout is open, is asked again later. Steps are
rows (`marina.pipelines.steps`): a run that was cut off continues where it was. Of the loops that share a database one
acts, by a lease that is renewed while a command runs.
"""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marina.database.connection import AWAY, Database
from marina.monitoring.loop_metrics import LAST_STEP
from marina.pipelines import commands, steps
from marina.pipelines.commands import Done
from marina.pipelines.schedule import Schedule
from marina.releases.lease import Lease

NAME = "loop"
LOAD_LIMIT_S, PROMOTE_LIMIT_S = 3_600.0, 3_600.0
PASSED = {"load": (0,), "train": (0, 3), "promote": (0, 3, 4)}
"""Exit statuses after which the next step follows: nothing to train, kept and inconclusive are no failures."""

WAIT_S = 600.0
"""After which a command that had to wait is asked again."""

BAD_DATA = 4
"""Exit status of a training that is not tried again in this run."""


class LeaseLostError(Exception):
    """Another loop acts now."""


class WaitingError(Exception):
    """A step has to wait for something else, and so does what follows it."""


@dataclass(frozen=True)
class Family:
    """A family, and where its data is where no load says.

    Attributes
    ----------
    data, held_out
        What it trains on, and rows to compare versions on; None: generated data, and no rows.
    """

    name: str
    data: str | None = None
    held_out: str | None = None


@dataclass
class Loop:
    """Runs what is due.

    Attributes
    ----------
    database
        Where steps and the lease are.
    lease
        Who acts.
    families
        In their order.
    weekly, daily
        When; None for never.
    scripts, folder
        Folder of the commands, and the one for the data that they hand on.
    training_limit_s
        Of a training, retries included.
    report
        Writes a line.
    stop
        Whether to begin nothing more, and to end what runs.
    """

    database: Database
    lease: Lease
    families: Sequence[Family]
    weekly: Schedule
    daily: Schedule | None
    scripts: Path
    folder: Path
    training_limit_s: float
    report: Callable[[str], None]
    stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.time
    run: Callable[..., Done] = commands.run
    _failed: list[str] = field(default_factory=list)

    def step(self) -> list[str]:
        """Run what is due, if this loop has the lease.

        Returns
        -------
        list of str
            What failed, a line each.

        Raises
        ------
        LeaseLostError
            When another loop acts.
        """
        if not self._renew():
            raise LeaseLostError(f"another {NAME} acts")
        self._failed = []
        due: dict[str, tuple[str, ...]] = {self.weekly.last_due(self.clock())[0]: ("load", "train")}
        if self.daily:
            due[self.daily.last_due(self.clock())[0]] = ("train",)
        for family in self.families:
            self._decide_what_waits(family, due)
        for run, names in due.items():
            for family in self.families:
                self._take(run, family, names)
        return self._failed

    def _decide_what_waits(self, family: Family, due: Collection[str]) -> None:
        """Continue with decisions of earlier runs that had to wait: what they trained is not forgotten."""
        with self.database.reading() as connection:
            waiting = steps.waiting(connection, family.name)
        for run in waiting:
            if run not in due:
                self._take(run, family, ("train",))

    def _take(self, run: str, family: Family, names: Sequence[str]) -> None:
        try:
            whole = self._family(run, family, names)
        except WaitingError:
            return
        if not whole:
            self._failed.append(f"{run} {family.name}")

    def _family(self, run: str, family: Family, names: Sequence[str]) -> bool:
        """Take a family as far as it goes; return whether its run is whole."""
        if (last := self._read(run, family.name, LAST_STEP)) and last.state == "done":
            return True
        with self.database.reading() as connection:
            loaded = steps.newest(connection, family.name, "load")
        given = _given(loaded.result if loaded else {})
        for name in names:
            command, limit_s = self._command(run, name, family, given)
            if (result := self._step(run, family.name, name, command, limit_s, PASSED[name])) is None:
                return False
            given |= _given(result)
        waits: WaitingError | None = None
        for one in given.get("trained", ()):
            rows = ["--data", family.held_out] if family.held_out else []
            promote = ["auto_promote.py", "--model", one["model"], "--version", one["version"], *rows, "--who", NAME]
            step = f"promote {one['model']}"[:64]
            try:
                if self._step(run, family.name, step, promote, PROMOTE_LIMIT_S, PASSED["promote"]) is None:
                    return False
            except WaitingError as error:  # the family's other models need not
                waits = error
        if waits:
            raise waits
        return self._step(run, family.name, LAST_STEP, None, 0.0, (0,)) is not None

    def _command(self, run: str, name: str, family: Family, given: Mapping[str, Any]) -> tuple[Sequence[str], float]:
        if name == "load":
            year, week, _ = datetime.date.fromisoformat(run[-10:]).isocalendar()  # the run's week, whenever it is made
            release = ["load_data.py", "release", "--family", family.name, "--week", f"{year}-W{week:02d}"]
            return [*release, "--out-dir", str(self.folder), "--json"], LOAD_LIMIT_S
        data = given.get("data", family.data)
        recorded = ["--data", str(data)] if data else []
        return ["auto_train.py", "--family", family.name, *recorded], self.training_limit_s

    def _step(
        self, run: str, family: str, name: str, command: Sequence[str] | None, limit_s: float, passed: Sequence[int]
    ) -> Mapping[str, Any] | None:
        """Run a step unless it is done; return its result, None where what follows has to wait."""
        before = self._read(run, family, name)
        if before is not None and before.state == "done":
            return before.result
        if before is not None and before.state == "waiting" and self.clock() - (before.ended_at or 0.0) < WAIT_S:
            raise WaitingError(f"{run} {family}: {name} waits")
        if before is not None and (before.exit == BAD_DATA or not before.may_begin(self.clock())):
            return None
        if self.stop() or not self._renew():
            raise LeaseLostError(f"another {NAME} acts, or this one is ending")
        with self.database.writing(durable=True) as connection:
            since = steps.begin(connection, self.database, run, family, name, self.clock())
        done = Done(0, {}, "")
        if command is not None:
            self.report(f"{run} {family}: {name}")
            program = [sys.executable, str(self.scripts / command[0]), *command[1:]]
            program += ["--since", str(since)] if name == "train" else []
            done = self.run(program, limit_s, self._may_continue)
            if done.exit == commands.STOPPED:  # the step stays `running`: who has the lease continues with it
                raise LeaseLostError(f"{run} {family}: {name} was ended")
        well, waits = done.exit in passed, done.exit == commands.WAIT
        state = "done" if well else "waiting" if waits else "failed"
        with self.database.writing(durable=True) as connection:
            if not self.lease.held(connection):
                raise LeaseLostError(f"another {NAME} acts")
            steps.end(connection, run, family, name, done.exit, done.result, done.tail, state, self.clock())
        if waits:
            raise WaitingError(f"{run} {family}: {name} waits")
        if not well:
            self.report(f"{run} {family}: {name} failed with exit status {done.exit}: {done.tail[-500:]}")
        return done.result if well else None

    def _read(self, run: str, family: str, step: str) -> steps.Step | None:
        with self.database.reading() as connection:
            return steps.read(connection, run, family, step)

    def _may_continue(self) -> bool:
        if self.stop():
            return False
        try:
            return not self.lease.due() or self._renew()
        except AWAY:  # no one else can take it either
            return True

    def _renew(self) -> bool:
        with self.database.writing() as connection:
            return self.lease.take(connection, self.clock())


def _given(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if value is not None}
