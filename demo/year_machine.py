"""The simulated year's machine as a process: tasks are sent to it, and it can be lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.database.loop_tables import TRAININGS
from marina.processes.children import end_with_parent
from marina.settings import ROOT

LIMIT_S: Final = 300.0
LOOK_S: Final = 0.02
INTO_S: Final = 0.3
"""How long a training has run when the machine is lost."""


class YearError(MarinaError):
    """A machine ended, or said that a step failed; the message is what it wrote."""


class Machine:
    """A running `demo.year_worker`; the environment says where its state is."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "machine.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "demo.year_worker"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
                preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - called from a main thread
            )  # fmt: skip

    def send(self, at: float, do: str, **task: Any) -> None:
        """Give it a task, at a time of the year in seconds since 1970."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"at": at, "do": do, **task}) + "\n")
        self._process.stdin.flush()

    def ask(self, at: float, do: str, **task: Any) -> dict[str, Any]:
        """Give it a task and return its answer.

        Raises
        ------
        YearError
            If it ended instead, or a step failed.
        """
        assert self._process.stdout is not None
        self.send(at, do, **task)
        line = self._process.stdout.readline()
        if not line:
            raise YearError(f"the machine ended in {do!r}:\n{self._log.read_text()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("failed") or answer.get("exit"):
            raise YearError(f"{do}: {answer}\n{self._log.read_text()[-4000:]}")
        return answer

    def kill(self) -> None:
        """Lose it."""
        self._process.kill()
        self._end()

    def stop(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._end()

    def _end(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def lose(machine: Machine, at: float, database: Database, loop: dict[str, Any]) -> None:
    """Begin a week's run, and lose the machine in the middle of its training."""
    machine.send(at, "loop", **loop)
    ends = time.monotonic() + LIMIT_S
    running = sa.select(sa.func.count()).select_from(TRAININGS).where(TRAININGS.c.state == "running")
    while time.monotonic() < ends:
        with database.reading() as connection:
            if connection.execute(running).scalar_one():
                time.sleep(INTO_S)
                machine.kill()
                return
        time.sleep(LOOK_S)
    raise YearError("no training began in the week in which the machine was to be lost")
