"""The loop: each week load, train and decide, each day ask whether to train, and at once what people asked for.

Each step is a command (`marina.pipelines.step_list`). Its exit status says whether the next one follows, and the JSON
on its last line is what the next one is given. One that has to wait, such as a decision while a rollout is open, is
asked again later. Steps are rows (`marina.pipelines.steps`): a run that was cut off continues where it was. Of the
loops that share a database one acts, by a lease that is renewed while a command runs.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from archives.errors import MarinaError
from marina.database.connection import AWAY, Database
from marina.monitoring.loop_metrics import BAD_DATA, LAST_STEP, WEEKLY
from marina.monitoring.requested_trainings import ASKED, Request, pending, trained_since
from marina.pipelines import commands, step_list, steps
from marina.pipelines.commands import Done
from marina.pipelines.schedule import Schedule, parse
from marina.pipelines.step_list import DAILY, NAME, Call, Family
from marina.processes.console import log
from marina.releases.lease import Lease
from marina.settings import ROOT, Settings

WAIT_S = 600.0
"""After which a command that had to wait is asked again."""


class LeaseLostError(Exception):
    """Another loop acts now."""


class UnknownFamilyError(MarinaError):
    """No family trains a model, and none will."""


class WaitingError(Exception):
    """A step has to wait for something else, and so does what follows it."""


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
    chores
        Names of `step_list.CHORES` that are done, each day or each week.
    pause_s
        Before a failed step's second attempt; twice as long before the third.
    report
        Writes a line.
    again
        Whether to attempt at once what failed, however often it did: what was wrong has been repaired.
    stop
        Whether to begin nothing more, and to end what runs.
    family_of
        Says which family trains a model; it raises `UnknownFamilyError` where none does, and another
        `archives.errors.MarinaError` where that cannot be said now.
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
    chores: Sequence[str] = ()
    pause_s: float = steps.FIRST_PAUSE_S
    again: bool = False
    stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.time
    run: Callable[..., Done] = commands.run
    family_of: Callable[[str], str] = field(default=lambda model: "")
    _failed: list[str] = field(default_factory=list)
    _reported: set[str] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        settings: Settings,
        database: Database,
        families: Sequence[Family] = (),
        daily: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Loop:
        """Make one by the settings, which tells what it does on stderr.

        Parameters
        ----------
        daily
            Whether it has days too, with their chores.
        """
        zone = settings.ml_time_zone
        return cls(
            database=database,
            lease=Lease(NAME, f"{settings.replica_name} {socket.gethostname()} {os.getpid()}"),
            families=families,
            weekly=parse(WEEKLY, settings.ml_training_schedule, zone),
            daily=parse(DAILY, settings.ml_daily_schedule, zone) if daily else None,
            scripts=settings.ml_commands or ROOT / "scripts",
            folder=settings.state_dir.resolve() / "loop",
            training_limit_s=step_list.whole_training_s(settings),
            report=lambda line: log(f"loop: {line}", sys.stderr),
            chores=step_list.chores(settings) if daily else (),
            pause_s=settings.ml_retry_pause_s,
            stop=stop,
        )

    def step(self, asked: bool = False) -> list[str]:
        """Run what is due, if this loop has the lease.

        Parameters
        ----------
        asked
            Whether to take what people asked for and nothing else.

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
        if asked:
            self.take_what_was_asked()
            return self._failed
        week = self.weekly.last_due(self.clock())[0]
        due: dict[str, tuple[str, ...]] = {week: step_list.WEEK}
        day = self.daily.last_due(self.clock())[0] if self.daily else ""
        if day:
            due[day] = step_list.DAY
        for family in self.families:
            self.decide_what_waits(family, due)
        for run, names in due.items():
            for family in self.families:
                self.take_what_was_asked()
                self._take(run, family, names)
        for name in self.chores:
            run = week if name in step_list.WEEKLY_CHORES else day
            if run and not (run == week and self._is_open(week)) and self.chore(run, name) is None:
                self._failed.append(f"{run} {name}")
        return self._failed

    def _is_open(self, run: str) -> bool:
        """Whether a family's run has failed and is attempted again; a decision that waits is named in the report."""
        failed = [one.name for one in self.families if f"{run} {one.name}" in self._failed]
        return any(self.due(run, name, "") is not None for name in failed)

    def decide_what_waits(self, family: Family, due: Collection[str]) -> None:
        """Continue with decisions of runs that are not due and had to wait: what they trained is not forgotten."""
        with self.database.reading() as connection:
            waiting = steps.waiting(connection, family.name)
        for run in waiting:
            if run not in due and not run.startswith(f"{ASKED} "):
                self._take(run, family, step_list.DAY)

    def take_what_was_asked(self) -> None:
        """Train what people asked for, and continue what was begun of it."""
        with self.database.reading() as connection:
            found = pending(connection, self.clock())
        for request, begun in found:
            name = self._family_for(request, begun)
            family = next((one for one in self.families if one.name == name), None)
            if family is None or (not begun and request.rules is None and self._is_answered(request, name)):
                continue
            who = NAME if request.rules is None else request.who
            self._take(request.run, replace(family, rules=request.rules, who=who), step_list.DAY)

    def _family_for(self, request: Request, begun: bool) -> str:
        """Return which family trains what was asked for; "" where none does, or that cannot be said now."""
        if begun:
            with self.database.reading() as connection:
                return steps.families(connection, request.run)[0]
        try:
            return self.family_of(request.model)
        except UnknownFamilyError as error:
            self._refuse(request, str(error))
        except MarinaError as error:
            if (line := f"{request.run}: {error}") not in self._reported:
                self._reported.add(line)
                self.report(line)
        return ""

    def _is_answered(self, request: Request, family: str) -> bool:
        """Whether a training has begun since; then there is nothing left to do."""
        with self.database.reading() as connection:
            other = trained_since(connection, family, request.time)
        if other is None:
            return False
        with self.database.writing(durable=True) as connection:
            steps.begin(connection, self.database, request.run, family, LAST_STEP, self.clock())
            result = json.loads(other.result)
            steps.end(connection, request.run, family, LAST_STEP, 0, result, "", "done", self.clock())
        return True

    def _refuse(self, request: Request, why: str) -> None:
        run, family = request.run, step_list.ALL
        self.report(f"{run}: {why}")
        with self.database.writing(durable=True) as connection:
            steps.begin(connection, self.database, run, family, "train", self.clock())
            steps.end(connection, run, family, "train", BAD_DATA, {}, why, "failed", self.clock())

    def _take(self, run: str, family: Family, names: Sequence[str]) -> None:
        try:
            whole = self._family(run, family, names)
        except WaitingError:
            return
        if not whole and f"{run} {family.name}" not in self._failed:
            self._failed.append(f"{run} {family.name}")

    def _family(self, run: str, family: Family, names: Sequence[str]) -> bool:
        """Take a family as far as it goes; return whether its run is whole."""
        if (last := self._read(run, family.name, LAST_STEP)) and last.state == "done":
            return True
        return all(self.one(run, family, name) is not None for name in names)

    def one(self, run: str, family: Family, name: str) -> Mapping[str, Any] | None:
        """Run one step of a family's run unless it is done; return its result, None where what follows has to wait.

        What fails or waits is of one model: the step's other models are taken before it is told.

        Raises
        ------
        WaitingError
            When a command has to wait for something else, such as a rollout's end, and none failed.
        """
        results: dict[str, Any] = {}
        failed, waits = False, None
        given = self._given(run, family.name)
        for call in step_list.calls(name, run, family, given, str(self.folder), self.training_limit_s):
            try:
                result = self._step(run, family.name, call)
            except WaitingError as error:
                waits = error
                continue
            failed = failed or result is None
            results |= result or {}
        if failed:
            return None
        if waits:
            raise waits
        return results

    def chore(self, run: str, name: str) -> Mapping[str, Any] | None:
        """Run one of a day's or a week's chores unless it is done; return its result, None where it failed."""
        return self._step(run, step_list.ALL, step_list.chore(name))

    def due(self, run: str, family: str, name: str) -> float | None:
        """Return when what failed of a step may be attempted again, in seconds since 1970; None if it never is.

        Of several models the one that may first counts; one that failed for good does not hold the others up.
        """
        with self.database.reading() as connection:
            failed = steps.failed(connection, run, family, name)
        due = [one.due(self.pause_s) for one in failed]
        return min((one for one in due if one is not None), default=None if failed else 0.0)

    def _given(self, run: str, family: str) -> dict[str, Any]:
        """Return what load and training handed on; the newest load's data where this run has none."""
        with self.database.reading() as connection:
            newest = steps.newest(connection, family, "load")
            own = [steps.read(connection, run, family, name) for name in ("load", "train")]
        done = [one.result for one in (newest, *own) if one and one.state == "done"]
        return {name: value for result in done for name, value in result.items() if value is not None}

    def _step(self, run: str, family: str, call: Call) -> Mapping[str, Any] | None:
        """Run a step unless it is done; return its result, None where what follows has to wait."""
        name, command = call.step, call.command
        before = self._read(run, family, name)
        if before is not None and before.state == "done":
            return before.result
        if before is not None and before.state == "waiting" and self.clock() - (before.ended_at or 0.0) < WAIT_S:
            raise WaitingError(f"{run} {family}: {name} waits")
        if before is not None and not self.again and not before.may_begin(self.clock(), self.pause_s):
            return None
        if self.stop() or not self._renew():
            raise LeaseLostError(f"another {NAME} acts, or this one is ending")
        with self.database.writing(durable=True) as connection:
            since = steps.begin(connection, self.database, run, family, name, self.clock())
        done = Done(0, {}, "")
        if command is not None and not (self.scripts / command[0]).is_file():
            done = Done(step_list.NO_COMMAND, {}, f"{self.scripts / command[0]} is not there")
        elif command is not None:
            self.report(f"{run} {family}: {name}")
            program = [sys.executable, str(self.scripts / command[0]), *command[1:]]
            program += ["--since", str(since)] if name == "train" else []
            done = self.run(program, call.limit_s, self._may_continue)
            if done.exit == commands.STOPPED:  # the step stays `running`: who has the lease continues with it
                raise LeaseLostError(f"{run} {family}: {name} was ended")
        well, waits = done.exit in call.passed, done.exit == commands.WAIT
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
