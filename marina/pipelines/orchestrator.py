"""The orchestrator's supervisor: starts its three programs, and starts again what ends.

    code server <── webserver on 127.0.0.1
         ^───────── daemon: schedules, the queue, retries

Runs are processes of the code server's. If that ends, all is ended and started again, and what ran is reported failed
before the daemon starts, which then resumes it. One supervisor acts per state folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import psutil

from archives.errors import MarinaError
from marina.pipelines.orchestrator_home import MARK, Home, folder, make_home
from marina.processes.children import end_with_parent
from marina.processes.log_rotation import Logs
from marina.serving.restart_backoff import Restarts, ending
from marina.settings import ROOT, Settings

LOOK_S = 0.5
START_S = 120.0
END_S = 5.0
CODE = "code server"


class OrchestratorError(MarinaError):
    """It cannot be started; the message says why and what to do."""


@dataclass
class Part:
    """One of its programs."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    restarts: Restarts = field(default_factory=Restarts)
    process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """Whether it does."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it."""
        self.restarts.start()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, env=dict(self.environment), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True, preexec_fn=_prepare(),  # noqa: PLW1509 - one thread
            )  # fmt: skip

    def keep(self, report: Callable[[str], None]) -> None:
        """Start it again if it ended and its pause is over."""
        if self.runs or self.process is None:
            return
        if not self.restarts.noted:
            report(f"the {self.name} exited ({ending(self.process)}); starting it again{self.restarts.end()}")
        if self.restarts.due:
            self.start()

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self.process is not None:
            self.process.terminate()

    def end(self, patience_s: float) -> None:
        """Wait until it has ended; kill it if it does not in that many seconds."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, patience_s))
        self.process.kill()
        self.process.wait()


@dataclass
class Orchestrator:
    """Keeps the programs running until it is to stop.

    Attributes
    ----------
    report
        Writes a line.
    stop
        Set when it is to end.
    """

    settings: Settings
    report: Callable[[str], None]
    stop: Event

    def run(self) -> None:
        """Run until `stop` is set.

        Raises
        ------
        MarinaError
            When another one runs on this state folder, its code cannot be loaded, or its storage is not there. Once it
            runs, it waits for what it misses.
        """
        restarts, first = Restarts(), True
        with only_one(self.settings):
            while not self.stop.is_set():
                restarts.start()
                try:
                    self._once()
                except MarinaError as error:
                    if first:
                        raise
                    self.report(str(error))
                first = False
                if not self.stop.is_set() and (pause := restarts.end()):
                    self.report(f"everything is started again{pause}")
                while not restarts.due and not self.stop.wait(LOOK_S):
                    pass

    def _once(self) -> None:
        with make_home(self.settings) as home:
            self._keep(home)

    def _keep(self, home: Home) -> None:
        """Run all parts until the code server ends, or all is to."""
        end_leftovers(home.folder)
        self.settings.log_dir.mkdir(parents=True, exist_ok=True)
        environment, parts = home.environment(self.settings), {}
        for name, command in home.commands(self.settings.orchestrator_port).items():
            log = self.settings.log_dir / f"orchestrator-{name.replace(' ', '-')}.log"
            parts[name] = Part(name, command, environment, log)
        logs = Logs(self.settings.log_dir, [part.log.name for part in parts.values()], lambda: None)
        try:
            self._reap(environment)
            parts[CODE].start()
            self._wait_for(parts[CODE], home.socket)
            for part in parts.values():
                if not part.runs and not self.stop.is_set():
                    part.start()
            while not self.stop.wait(LOOK_S):
                logs.rotate()
                if not parts[CODE].runs:
                    self.report(f"the {CODE} exited ({_ending(parts[CODE])})")
                    return
                for part in parts.values():
                    part.keep(self.report)
        finally:
            ends = time.monotonic() + END_S
            for part in parts.values():
                part.ask_to_end()
            for part in parts.values():
                part.end(ends - time.monotonic())
            end_leftovers(home.folder)

    def _wait_for(self, part: Part, socket: Path) -> None:
        ends = time.monotonic() + START_S
        while not socket.exists() and not self.stop.wait(LOOK_S / 5):
            if not part.runs or time.monotonic() > ends:
                why = _tail(part.log)
                raise OrchestratorError(f"The loop's definitions cannot be loaded ({part.log}):\n{why}")

    def _reap(self, environment: Mapping[str, str]) -> None:
        """Report runs failed that were cut off, and make the tables: first, since several at once fail at that."""
        reaper = [sys.executable, "-m", "marina.pipelines.reaper"]
        try:
            done = subprocess.run(
                reaper, env=dict(environment), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=START_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise OrchestratorError(f"Its storage did not answer in {START_S:g} s") from None
        for line in done.stdout.splitlines():
            self.report(line)
        if done.returncode:
            raise OrchestratorError(f"Its storage cannot be used: {done.stderr[-1000:]}")


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Be the only supervisor of a state folder, whose process id is in its file; the system forgets a dead one."""
    own = folder(settings)
    own.mkdir(parents=True, exist_ok=True)
    with (own / "pid").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OrchestratorError("It runs already: python scripts/orchestrator.py status") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)


def supervisor(settings: Settings) -> int | None:
    """Return the process id of the supervisor that runs; None where none does."""
    try:
        with (folder(settings) / "pid").open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return int(file.read() or 0) or None
    except OSError:
        pass
    return None


def end_leftovers(home: Path) -> None:
    """Kill what an orchestrator of this folder left behind: runs, and parts whose supervisor was killed.

    Each has a variable in its environment that names the folder. A run that is killed is resumed.
    """
    left = [process for process in psutil.process_iter() if process.pid != os.getpid() and _belongs(process, home)]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, END_S)


def _belongs(process: psutil.Process, home: Path) -> bool:
    try:
        return bool(process.environ().get(MARK) == str(home))
    except (psutil.Error, OSError):
        return False


def _prepare() -> Callable[[], None]:
    arrange = end_with_parent(signal.SIGKILL)

    def prepare() -> None:
        # Dagster gives SIGTERM what SIGINT has, and a shell's background jobs ignore that.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        arrange()

    return prepare


def _ending(part: Part) -> str:
    return ending(part.process) if part.process is not None else ""


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]
