"""The supervisor: one process that keeps TorchServe, the gateway and their companions running.

All are its children; whichever ends is started again, and the declared versions are brought back (`rollout.versions`).
It is single-threaded, so that children can be bound to its life by the kernel: however it ends, they end.
"""

import contextlib
import getpass
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence

import httpx
import sqlalchemy as sa

from archives.store import newest
from events.database import Database
from rollout import batching, ledger, rollouts, torchserve
from rollout.companions import MODULES, Companion
from rollout.declaration import Declaration, DeclarationError, Declared, read_archive
from rollout.fleet import Fleet
from rollout.gateway import Gateway
from rollout.premises import StartError, check_ports, only_one, private_run_dir, say
from rollout.restarts import Restarts, ending
from rollout.torchserve import RunDir
from rollout.versions import HUNG_S, Versions
from settings import Settings, management_token

TICK_S = 0.2
WATCH_S = 1.0
WATCH_WITH_GPUS_S = 15.0  # describe runs nvidia-smi once per worker there
PROGRESS_S = 5.0
FIRST_STARTS = 3
JAVA_STOP_S = 8.0
LARGEST_ACCESS_LOG_BYTES = 100 * 1024 * 1024

LOOPBACK = ("127.0.0.1", "::1", "localhost")

WhenReady = Callable[[Sequence[Declared]], None]


class Supervisor:
    """Runs one TorchServe and one gateway until it is told to stop."""

    def __init__(self, settings: Settings, database: Database, declaration: Declaration, run_dir: RunDir) -> None:
        self._settings = settings
        self._declaration = declaration
        self._run_dir = run_dir
        token, place = management_token(settings)
        self._token_place = place
        self._gateway = Gateway(settings, token, run_dir)
        self._batching = batching.prepare(
            torchserve.installed() / "frontend" / "model-server.jar", run_dir.path / "send-when-idle.jar"
        )
        self._versions = Versions(settings, database, declaration, self._gateway.routes, run_dir)
        self._companions = [Companion(module, settings, run_dir) for module in MODULES]
        self._java: subprocess.Popen[bytes] | None = None
        self._fleet: Fleet | None = None
        self._watch_s = WATCH_WITH_GPUS_S if torchserve.count_gpus() else WATCH_S
        self._java_restarts, self._gateway_restarts = Restarts(), Restarts()
        self._reached_at = self._looked_at = 0.0
        self._ever_reached = False
        self._published: tuple[bool, dict[str, dict[str, str]]] | None = None
        self._signals: list[int] = []

    def run(self, when_ready: WhenReady = lambda _: None) -> None:
        """Serve until SIGINT, SIGTERM or SIGHUP, then drain and leave nothing behind.

        Parameters
        ----------
        when_ready
            Called once, when every declared version is ready or has refused to load, with those that are ready.
        """
        if self._batching.notice:
            say(self._batching.notice)
        if self._settings.host not in LOOPBACK and not self._settings.inference_tokens:
            say(f"whoever reaches {self._settings.host} may send requests: set MARINA_INFERENCE_TOKENS to ask for one")
        wake, to_wake = socket.socketpair()
        with wake, to_wake:
            wake.setblocking(False)
            to_wake.setblocking(False)
            signal.set_wakeup_fd(to_wake.fileno())
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # nohup keeps its promise
                    signal.signal(signum, lambda number, _: self._signals.append(number))
            signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes the loop when a child ends
            try:
                self._versions.load()
                self._gateway.configure()
                self._serve(wake, when_ready)
            finally:
                self._stop()
                signal.set_wakeup_fd(-1)

    def _serve(self, wake: socket.socket, when_ready: WhenReady) -> None:
        settled = False
        shown = time.monotonic()
        while not self._signals:
            self._keep_gateway()
            self._keep_java()
            if any([companion.keep() for companion in self._companions]):
                self._write_pids()
            self._versions.follow()
            self._keep_versions()
            self._publish()
            if not settled and self._versions.settled:
                settled = True
                self._announce()
                when_ready(self._versions.ready())
            elif not settled and time.monotonic() - shown > PROGRESS_S:
                shown = time.monotonic()
                waiting = [f"{one.declared} {one.state}" for one in self._versions if one.state != "ready"]
                say(f"still starting: {', '.join(waiting)} ({shown - self._java_restarts.started:.0f} s)")
            select.select([wake], [], [], TICK_S)
            with contextlib.suppress(BlockingIOError):
                wake.recv(4096)

    def _keep_gateway(self) -> None:
        if self._gateway.running():
            return
        if self._gateway.process is not None and not self._gateway_restarts.noted:
            _end_group(self._gateway.process, signal.SIGQUIT)  # what a killed master left lets go of the port
            how = ending(self._gateway.process)
            say(f"the gateway ended ({how}); starting it again{self._gateway_restarts.end()}")
        if self._gateway_restarts.due:
            self._gateway_restarts.start()
            self._gateway.start()
            self._write_pids()

    def _keep_java(self) -> None:
        java = self._java
        if java is not None and java.poll() is None:
            if self._fleet is None and time.monotonic() - self._java_restarts.started > 4 * HUNG_S:
                say("TorchServe does not come up; ending it")
                _end_group(java, signal.SIGKILL)
            return
        if java is not None and not self._java_restarts.noted:
            self._lose_java(java)
        if self._java_restarts.due:
            self._java_restarts.start()
            self._java = torchserve.start(
                self._settings, self._run_dir, self._declaration.folder, self._versions.workers, self._batching
            )
            self._write_pids()

    def _lose_java(self, java: subprocess.Popen[bytes]) -> None:
        self._versions.lose()
        _end_group(java, signal.SIGKILL)  # its workers, should one be busy
        if self._fleet is not None:
            self._fleet.close()
            self._fleet = None
        pause = self._java_restarts.end()
        if not self._ever_reached and self._java_restarts.ends >= FIRST_STARTS:
            words = (self._settings.log_dir / "torchserve.console.log").read_text(errors="replace").splitlines()[-15:]
            raise StartError("TorchServe ends as soon as it starts. Its last words:\n" + "\n".join(words))
        say(f"TorchServe ended ({ending(java)}); starting it again{pause}")

    def _keep_versions(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < (TICK_S if self._versions.loading else self._watch_s):
            return
        self._looked_at = now
        if self._java is None or self._java.poll() is not None:
            return
        if self._fleet is None:
            fleet = Fleet(self._run_dir.management_socket, self._batching, self._settings.log_dir / "workers.log")
            if not fleet.reachable():
                fleet.close()
                return
            self._fleet, self._ever_reached = fleet, True
        try:
            self._versions.keep(self._fleet, lambda: bool(self._signals))
            self._reached_at = time.monotonic()
        except httpx.TransportError:
            if self._java.poll() is None and time.monotonic() - self._reached_at > HUNG_S:
                say(f"TorchServe's management has not answered for {HUNG_S:g} s; ending it")
                _end_group(self._java, signal.SIGKILL)

    def _publish(self) -> None:
        state = (self._versions.answering(), self._versions.states())
        if state != self._published:
            self._gateway.report(*state)
            self._published = state
        log = self._settings.log_dir / "access.jsonl"
        if log.exists() and log.stat().st_size > LARGEST_ACCESS_LOG_BYTES:
            log.replace(log.with_suffix(f".{time.time_ns()}.jsonl"))  # the collector deletes it
            self._gateway.signal(signal.SIGUSR1)

    def _announce(self) -> None:
        settings = self._settings
        say(f"serving {', '.join(map(str, self._versions.ready())) or 'nothing'}")
        say(f"  predictions  http://{settings.host}:{settings.inference_port}/predictions/MODEL")
        where = f"token in {self._token_place}" if self._token_place else "token in MARINA_MANAGEMENT_TOKEN"
        say(f"  management   http://{settings.management_host}:{settings.management_port}/models  ({where})")
        say(f"  metrics      http://127.0.0.1:{settings.metrics_port}/metrics")
        say(f"  logs         {settings.log_dir}")

    def _write_pids(self) -> None:
        processes = {"java": self._java, "nginx": self._gateway.process}
        processes |= {companion.name: companion.process for companion in self._companions}
        state = {
            "run_dir": str(self._run_dir.path),
            "supervisor": os.getpid(),
            **{name: process.pid for name, process in processes.items() if process is not None},
        }
        place = self._settings.state_dir / "running.json"
        fresh = place.with_suffix(".new")
        fresh.write_text(json.dumps(state) + "\n")
        fresh.replace(place)

    def _stop(self) -> None:
        """Let requests in flight finish, then end TorchServe; a second signal does not wait."""
        java, nginx = self._java, self._gateway.process
        first = len(self._signals)
        if first:
            say("stopping: requests in flight finish (once more to end at once)")
        self._gateway.report(False, {})
        self._gateway.signal(signal.SIGQUIT)
        if nginx is not None:
            self._wait(nginx, self._settings.drain_timeout_s + 2, first)
            _end_group(nginx, signal.SIGKILL)
        if java is not None:
            if java.poll() is None:
                java.terminate()
                self._wait(java, JAVA_STOP_S, first)
            _end_group(java, signal.SIGKILL)
        if self._fleet is not None:
            self._fleet.close()
        for companion in self._companions:
            companion.ask_to_stop()
        for companion in self._companions:
            companion.stop()
        self._versions.gone()
        (self._settings.state_dir / "running.json").unlink(missing_ok=True)
        if first:
            say("stopped")

    def _wait(self, process: subprocess.Popen[bytes], timeout_s: float, signals: int) -> None:
        end = time.monotonic() + timeout_s
        while process.poll() is None and time.monotonic() < end and len(self._signals) <= signals:
            time.sleep(0.02)


def _end_group(process: subprocess.Popen[bytes], signum: int) -> None:
    """Signal everything that a child of ours started, and the child itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signum)
    if signum == signal.SIGKILL:
        process.wait()


def serve(settings: Settings, archives: Sequence[Declared], when_ready: WhenReady = lambda _: None) -> None:
    """Serve until told to stop.

    Parameters
    ----------
    archives
        Declared in place of whatever was declared before; none: that goes on, see `restore`.

    Raises
    ------
    StartError, DeclarationError, DatabaseError, MissingProgramError
        When the server cannot start.
    """
    with only_one(settings):
        check_ports(settings)
        settings.log_dir.mkdir(parents=True, exist_ok=True)
        settings.spool_dir.mkdir(parents=True, exist_ok=True)
        settings.spool_dir.chmod(0o700)  # requests and answers are nobody else's business
        database = Database(settings.database)
        try:
            database.upgrade()
            declaration = Declaration(settings.state_dir / "declared")
            with database.writing() as connection:
                ledger.lock(connection)
                if archives:
                    declaration.replace(connection, archives)
                    disturbed = {one.model for one in rollouts.open_rollouts(connection)}
                    why = "a server was started with archives of its own"
                    rollouts.abort_open(connection, disturbed, getpass.getuser(), time.time(), why)
                else:
                    restore(settings, connection, declaration)
            with private_run_dir() as run_dir:
                Supervisor(settings, database, declaration, run_dir).run(when_ready)
        finally:
            database.close()


def restore(settings: Settings, connection: sa.Connection, declaration: Declaration) -> None:
    """Go on with what is declared; of models that are not, declare the newest version in the store.

    Raises
    ------
    DeclarationError
        When there is nothing to serve.
    """
    declared = declaration.read(connection)
    if declared:
        say(f"restoring what is declared: {', '.join(str(one) for one in declared)}")
    known = {one.model for one in declared}
    stored = newest(settings.archive_store)
    if not declared and not stored:
        raise DeclarationError(f"There is no archive in {settings.archive_store}: build one (make archive).")
    declaration.add(connection, [read_archive(one.path) for one in stored if one.model not in known])
    for one in stored:
        if one.model in known and one.version not in {other.version for other in declared if other.model == one.model}:
            say(f"{one.model} {one.version} is in the store, and not declared: release it with")
            say(f"  python scripts/deploy_canary.py --model {one.model} --version {one.version}   (or serve --newest)")
