"""The supervisor: one process that keeps TorchServe and the gateway running, and the declared models in them.

It starts both as its children, registers what is declared, opens each version for traffic when it is ready, and then
watches: whichever ends is started again, and what it knew is restored from the database. It is single-threaded, so
that children can be bound to its life by the kernel: however it ends, they end.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from rollout import batching, torchserve
from rollout.declaration import Declaration, Declared
from rollout.fleet import Fleet, FleetError
from rollout.gateway import Gateway, Route
from rollout.premises import StartError, check_ports, only_one, private_run_dir, say
from rollout.torchserve import RunDir
from settings import Settings, management_token

TICK_S = 0.2
WATCH_S = 1.0
WATCH_WITH_GPUS_S = 15.0  # describe runs nvidia-smi once per worker there
PROGRESS_S = 5.0
HUNG_S = 30.0
SETTLED_S = 60.0  # a process that lived this long starts its backoff anew
BACKOFF_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
FIRST_STARTS = 3
JAVA_STOP_S = 8.0
LARGEST_ACCESS_LOG_BYTES = 100 * 1024 * 1024

LOOPBACK = ("127.0.0.1", "::1", "localhost")

WhenReady = Callable[[Sequence[Declared]], None]


@dataclass
class _Version:
    """What the supervisor knows about one declared version."""

    declared: Declared
    state: str = "waiting"  # waiting, loading, ready, refused
    since: float = 0.0  # when the state began
    log_start: int = 0  # where the worker log was when it was registered
    whole_at: float = 0.0  # when all of its workers were last ready
    ready_at: float = 0.0  # when at least one was
    reason: str = ""

    def become(self, state: str, reason: str = "") -> None:
        self.state, self.since, self.reason = state, time.monotonic(), reason


class Supervisor:
    """Runs one TorchServe and one gateway until it is told to stop."""

    def __init__(self, settings: Settings, declaration: Declaration, run_dir: RunDir) -> None:
        self._settings = settings
        self._declaration = declaration
        self._run_dir = run_dir
        token, place = management_token(settings)
        self._token_place = place
        self._gateway = Gateway(settings, token, run_dir)
        self._batching = batching.prepare(
            torchserve.installed() / "frontend" / "model-server.jar", run_dir.path / "send-when-idle.jar"
        )
        self._versions: dict[tuple[str, str], _Version] = {}
        self._java: subprocess.Popen[bytes] | None = None
        self._fleet: Fleet | None = None
        self._watch_s = WATCH_WITH_GPUS_S if torchserve.count_gpus() else WATCH_S
        self._java_started = self._java_due = self._gateway_started = self._gateway_due = 0.0
        self._java_ends = self._gateway_ends = 0
        self._reached_at = self._looked_at = 0.0
        self._ever_reached = False
        self._published: dict[str, dict[str, str]] | None = None
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
                self._load_declaration()
                self._gateway.configure(self._routes())
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
            self._keep_versions()
            self._publish()
            if not settled and all(one.state in ("ready", "refused") for one in self._versions.values()):
                settled = True
                self._announce()
                when_ready([one.declared for one in self._versions.values() if one.state == "ready"])
            elif not settled and time.monotonic() - shown > PROGRESS_S:
                shown = time.monotonic()
                waiting = [f"{one.declared} {one.state}" for one in self._versions.values() if one.state != "ready"]
                say(f"still starting: {', '.join(waiting)} ({shown - self._java_started:.0f} s)")
            select.select([wake], [], [], TICK_S)
            with contextlib.suppress(BlockingIOError):
                wake.recv(4096)

    def _load_declaration(self) -> None:
        found = {(one.model, one.version): one for one in self._declaration.read()}
        self._versions = {key: self._versions.get(key) or _Version(one) for key, one in found.items()}

    def _routes(self) -> list[Route]:
        models: dict[str, list[_Version]] = {}
        for one in self._versions.values():
            models.setdefault(one.declared.model, []).append(one)
        return [
            Route(
                model,
                tuple((one.declared.version, one.declared.weight) for one in versions),
                frozenset(one.declared.version for one in versions if one.state == "refused"),
            )
            for model, versions in models.items()
        ]

    def _keep_gateway(self) -> None:
        now = time.monotonic()
        if self._gateway.running():
            return
        if self._gateway.process is not None and self._gateway_due <= self._gateway_started:
            _end_group(self._gateway.process, signal.SIGQUIT)  # what a killed master left lets go of the port
            self._gateway_ends = 0 if now - self._gateway_started > SETTLED_S else self._gateway_ends + 1
            wait_s = BACKOFF_S[min(self._gateway_ends, len(BACKOFF_S) - 1)]
            self._gateway_due = now + wait_s
            say(f"the gateway ended ({_ending(self._gateway.process)}); starting it again" + _after(wait_s))
        if now >= self._gateway_due:
            self._gateway_started = now
            self._gateway.start()
            self._write_pids()

    def _keep_java(self) -> None:
        now = time.monotonic()
        java = self._java
        if java is not None and java.poll() is None:
            if self._fleet is None and now - self._java_started > 4 * HUNG_S:
                say("TorchServe does not come up; ending it")
                _end_group(java, signal.SIGKILL)
            return
        if java is not None and self._java_due <= self._java_started:
            self._lose_java(java, now)
        if now >= self._java_due:
            self._java_started = now
            workers = sum(one.declared.serving.workers for one in self._versions.values() if one.state != "refused")
            self._java = torchserve.start(
                self._settings, self._run_dir, self._declaration.folder, workers, self._batching
            )
            self._write_pids()

    def _lose_java(self, java: subprocess.Popen[bytes], now: float) -> None:
        self._gateway.close_all()
        _end_group(java, signal.SIGKILL)  # its workers, should one be busy
        if self._fleet is not None:
            self._fleet.close()
            self._fleet = None
        for one in self._versions.values():
            if one.state != "refused":
                one.become("waiting")
        self._java_ends = 0 if now - self._java_started > SETTLED_S else self._java_ends + 1
        if not self._ever_reached and self._java_ends >= FIRST_STARTS:
            words = (self._settings.log_dir / "torchserve.console.log").read_text(errors="replace").splitlines()[-15:]
            raise StartError("TorchServe ends as soon as it starts. Its last words:\n" + "\n".join(words))
        wait_s = BACKOFF_S[min(self._java_ends, len(BACKOFF_S) - 1)]
        self._java_due = now + wait_s
        say(f"TorchServe ended ({_ending(java)}); starting it again" + _after(wait_s))

    def _keep_versions(self) -> None:
        now = time.monotonic()
        loading = any(one.state in ("waiting", "loading") for one in self._versions.values())
        if now - self._looked_at < (TICK_S if loading else self._watch_s):
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
            for one in self._versions.values():
                if self._signals:
                    return
                self._keep_version(self._fleet, one)
            self._reached_at = time.monotonic()
        except httpx.TransportError:
            if self._java.poll() is None and time.monotonic() - self._reached_at > HUNG_S:
                say(f"TorchServe's management has not answered for {HUNG_S:g} s; ending it")
                _end_group(self._java, signal.SIGKILL)

    def _keep_version(self, fleet: Fleet, one: _Version) -> None:
        declared = one.declared
        if one.state == "refused":
            return
        try:
            if one.state == "waiting":
                one.log_start = fleet.log_end()
                fleet.register(declared)
                one.become("loading")
            status = fleet.status(declared)
        except FleetError as error:
            self._refuse(fleet, one, str(error))
            return
        now = time.monotonic()
        if status.state == "absent":
            self._gateway.close(declared.model, declared.version)
            one.become("waiting")
        elif status.state == "ready":
            one.ready_at = now
            if status.ready_workers >= status.workers:
                one.whole_at = now
            if one.state != "ready":
                one.become("ready")
                one.whole_at = now
            self._gateway.open(declared.model, declared.version)
        elif one.state == "loading":
            if (words := fleet.refusal(declared, one.log_start)) is not None:
                self._refuse(fleet, one, words)
        elif now - one.ready_at > self._settings.request_timeout_s / 2:
            self._gateway.close(declared.model, declared.version)  # better 503 now than 504 later
        # TorchServe stops restarting a worker after a while, and never says so.
        if one.state == "ready" and now - one.whole_at > declared.serving.max_retry_timeout_s + HUNG_S:
            say(f"{declared}: TorchServe no longer restarts its workers; giving it new ones")
            fleet.revive(declared)
            one.whole_at = now

    def _refuse(self, fleet: Fleet, one: _Version, reason: str) -> None:
        self._gateway.close(one.declared.model, one.declared.version)
        with contextlib.suppress(FleetError):
            fleet.remove(one.declared)
        one.become("refused", reason)
        self._gateway.configure(self._routes())
        say(f"{one.declared} refuses to serve: {reason}\n          (all of it: {self._settings.log_dir}/workers.log)")

    def _publish(self) -> None:
        states: dict[str, dict[str, str]] = {}
        for one in self._versions.values():
            open_for_traffic = (self._run_dir.path / "open" / one.declared.model / one.declared.version).exists()
            state = "loading" if one.state == "ready" and not open_for_traffic else one.state
            states.setdefault(one.declared.model, {})[one.declared.version] = state
        if states != self._published:
            self._gateway.report(states)
            self._published = states
        log = self._settings.log_dir / "access.jsonl"
        if log.exists() and log.stat().st_size > LARGEST_ACCESS_LOG_BYTES:
            log.replace(log.with_suffix(".1.jsonl"))
            self._gateway.signal(signal.SIGUSR1)

    def _announce(self) -> None:
        settings = self._settings
        ready = [str(one.declared) for one in self._versions.values() if one.state == "ready"]
        say(f"serving {', '.join(ready) or 'nothing'}")
        say(f"  predictions  http://{settings.host}:{settings.inference_port}/predictions/MODEL")
        where = f"token in {self._token_place}" if self._token_place else "token in MARINA_MANAGEMENT_TOKEN"
        say(f"  management   http://{settings.management_host}:{settings.management_port}/models  ({where})")
        say(f"  metrics      http://127.0.0.1:{settings.metrics_port}/metrics")
        say(f"  logs         {settings.log_dir}")

    def _write_pids(self) -> None:
        processes = {"java": self._java, "nginx": self._gateway.process}
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
        self._gateway.report({})
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


def _ending(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def _after(wait_s: float) -> str:
    return f" in {wait_s:g} s" if wait_s else ""


def serve(settings: Settings, archives: Sequence[Declared], when_ready: WhenReady = lambda _: None) -> None:
    """Declare `archives` and serve them until told to stop.

    After a run that did not end by itself (a crash, a power cut), what it had declared is restored when no archive
    is named.

    Raises
    ------
    StartError, DeclarationError, MissingProgramError
        When the server cannot start.
    """
    with only_one(settings):
        check_ports(settings)
        settings.log_dir.mkdir(parents=True, exist_ok=True)
        declaration = Declaration(settings.database, settings.state_dir / "declared")
        try:
            if archives:
                declaration.replace(archives)
            with private_run_dir() as run_dir:
                Supervisor(settings, declaration, run_dir).run(when_ready)
        finally:
            declaration.close()


def crashed(settings: Settings) -> bool:
    """Whether the last run from this state folder ended without stopping."""
    return (settings.state_dir / "running.json").exists()
