"""The supervisor: one process that keeps TorchServe, the gateway and their sidecars running.

All are its children; whichever ends is started again, and the declared versions are brought back
(`marina.serving.reconciler`). They are started by its first thread, so that the kernel can bind them to its life:
however it ends, they end. What it writes to files are hints; a full disk, or any other fault, ends no more than the
part of its loop that met it.
"""

import contextlib
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import httpx

from marina.processes import confinement
from marina.processes.console import log
from marina.processes.files import write_atomically
from marina.processes.guard import Guard
from marina.processes.log_rotation import CONSOLES, Logs
from marina.releases.declarations import Declaration, Declared
from marina.serving import class_patches, programs, sidecars, torchserve
from marina.serving.control_socket import ControlServer
from marina.serving.gateway import Gateway, own_url
from marina.serving.preflight import StartError, is_loopback
from marina.serving.programs import MissingProgramError
from marina.serving.reconciler import Reconciler
from marina.serving.restart_backoff import Restarts, ending
from marina.serving.run_dir import RunDir
from marina.serving.sidecars import Sidecar
from marina.serving.torchserve_client import TorchServeClient
from marina.serving.version_state import HUNG_S, State
from marina.settings import Settings, console_token, management_token

TICK_S = 0.2
WATCH_S = 1.0
WATCH_WITH_GPUS_S = 15.0  # describe runs nvidia-smi once per worker there
PROGRESS_S = 5.0
ALONE_S = 10.0  # how long a start may keep the cores to itself, before the sidecars import what they need
FIRST_STARTS = 3
JAVA_STOP_S = 8.0
SIDECARS_STOP_S = 5.0
KILL_S = 5.0
LEAST_BYTES = 4 * 1024 * 1024  # with less, Java cannot begin

WhenReady = Callable[[Sequence[Declared]], None]


class Supervisor:
    """Runs one TorchServe and one gateway until it is asked to stop."""

    def __init__(
        self,
        settings: Settings,
        declaration: Declaration,
        run_dir: RunDir,
        declared: Sequence[Declared],
        upgraded: bool,
    ) -> None:
        """Prepare a supervisor.

        Parameters
        ----------
        declaration
            The files of what is declared.
        run_dir
            The private folder of this run.
        declared
            What should run until the database says otherwise.
        upgraded
            Whether the database was brought to its latest state.
        """
        self._settings = settings
        self._declaration = declaration
        self._run_dir = run_dir
        token, path = management_token(settings)
        self._token_path = path
        self._gateway = Gateway(settings, token, run_dir)
        self._classes = class_patches.prepare(
            torchserve.installed() / "frontend" / "model-server.jar",
            run_dir.path / "changed.jar",
            unexamined=settings.unexamined_torchserve == "allow",
        )
        self._guard = Guard(log)
        self._reconciler = Reconciler(settings, declaration, self._gateway.routes, run_dir, self._guard)
        self._declared, self._upgraded = declared, upgraded
        self._sidecars = [Sidecar(name, settings, run_dir) for name in sidecars.chosen(settings)]
        consoles = [*CONSOLES, *(f"{sidecar.name}.log" for sidecar in self._sidecars)]
        self._logs = Logs(settings.log_dir, consoles, lambda: self._gateway.signal(signal.SIGUSR1))
        self._java: subprocess.Popen[bytes] | None = None
        self._torchserve: TorchServeClient | None = None
        self._watch_s = WATCH_WITH_GPUS_S if torchserve.count_gpus() else WATCH_S
        self._java_restarts, self._gateway_restarts = Restarts(), Restarts()
        self._began = time.monotonic()
        self._reached_at = self._looked_at = self._watched_at = 0.0
        self._ever_reached = False
        self._published: tuple[bool, dict[str, bool], dict[str, dict[str, str]]] | None = None
        self._noted: dict[str, object] = {}
        self._replica = ""
        self._signals: list[int] = []

    def run(self, when_ready: WhenReady = lambda _: None) -> None:
        """Serve until SIGINT, SIGTERM or SIGHUP, then drain and leave nothing behind.

        Parameters
        ----------
        when_ready
            Called once, when every declared version is ready or has refused to load, with those that are ready.
        """
        concern = programs.concern_about_nginx(programs.find_nginx(self._settings))
        for notice in (*self._classes.notices, *confinement.shortcomings(), *filter(None, [concern])):
            log(notice)
        if not is_loopback(self._settings.host) and not self._settings.inference_tokens:
            log(f"anyone who reaches {self._settings.host} may send requests: MARINA_INFERENCE_TOKENS asks for a token")
        wake, to_wake = socket.socketpair()
        wake.setblocking(False)
        to_wake.setblocking(False)
        control = ControlServer(self._run_dir.link_socket, self._gateway.routes, lambda: _wake(to_wake), self._guard)
        control.upgraded = self._upgraded
        with wake, to_wake, contextlib.closing(control):
            signal.set_wakeup_fd(to_wake.fileno())
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # nohup keeps its promise
                    signal.signal(signum, lambda number, _: self._signals.append(number))
            signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes the loop when a child ends
            try:
                self._reconciler.follow(self._declared)
                self._gateway.configure()
                self._serve(wake, control, when_ready)
            finally:
                self._stop()
                signal.set_wakeup_fd(-1)

    def _serve(self, wake: socket.socket, control: ControlServer, when_ready: WhenReady) -> None:
        parts: dict[str, Callable[[], None]] = {
            "starting the gateway": self._keep_gateway,
            "starting TorchServe": self._keep_java,
            **{f"starting the {one.name}": functools.partial(self._keep_sidecar, one) for one in self._sidecars},
            "noting the processes": self._note_processes,
            "following the desired versions": lambda: self._follow(control),
            "killing workers that hang": self._end_hung,
            "reconciling the versions": self._reconcile,
            "answering /ping": self._publish,
            "rotating the logs": self._logs.rotate,
        }
        settled = False
        shown = time.monotonic()
        while not self._signals:
            for name, part in parts.items():
                # What makes a first start useless ends it; later nothing does.
                with self._guard.part(name, passing=() if self._ever_reached else (StartError, MissingProgramError)):
                    part()
            if not settled and self._reconciler.settled:
                settled = True
                self._announce()
                with self._guard.part("showing what is ready"):
                    when_ready(self._reconciler.list_ready())
            elif not settled and time.monotonic() - shown > PROGRESS_S:
                shown = time.monotonic()
                waiting = [f"{one.declared} {one.state}" for one in self._reconciler if one.state is not State.READY]
                log(f"still starting: {', '.join(waiting)} ({shown - self._java_restarts.started:.0f} s)")
            select.select([wake], [], [], TICK_S)
            with contextlib.suppress(BlockingIOError):
                wake.recv(4096)

    def _follow(self, control: ControlServer) -> None:
        """Take up what the controller says should run, and leave it to say what does."""
        self._reconciler.follow(self._declared if control.declared is None else control.declared)
        control.runs = self._reconciler.list_rows()
        if control.replica != self._replica:
            self._replica = control.replica
            for sidecar in self._sidecars:
                sidecar.rename(self._replica)

    def _keep_sidecar(self, sidecar: Sidecar) -> None:
        if self._reconciler.list_ready() or time.monotonic() - self._began > ALONE_S:
            sidecar.keep()

    def _keep_gateway(self) -> None:
        if self._gateway.running():
            if self._gateway.forget_lost():
                log("workers of the gateway were replaced; requests in flight are counted from zero")
            return
        if self._gateway.process is not None and not self._gateway_restarts.noted:
            _end_group(self._gateway.process, signal.SIGQUIT)  # what a killed master left lets go of the port
            how = ending(self._gateway.process)
            log(f"the gateway exited ({how}); restarting it{self._gateway_restarts.end()}")
        if self._gateway_restarts.due:
            self._gateway_restarts.start()
            self._gateway.start()

    def _keep_java(self) -> None:
        java = self._java
        if java is not None and java.poll() is None:
            if self._torchserve is None and time.monotonic() - self._java_restarts.started > 4 * HUNG_S:
                log("TorchServe does not become ready; killing it")
                _end_group(java, signal.SIGKILL)
            return
        if java is not None and not self._java_restarts.noted:
            self._lose_java(java)
        if self._java_restarts.due:
            self._java_restarts.start()
            self._java = torchserve.start(
                self._settings, self._run_dir, self._declaration.folder, self._reconciler.workers, self._classes
            )

    def _lose_java(self, java: subprocess.Popen[bytes]) -> None:
        with self._guard.part("closing the versions"):
            self._reconciler.lose_server()
        _end_group(java, signal.SIGKILL)  # its workers, should one be busy
        if self._torchserve is not None:
            self._torchserve.close()
            self._torchserve = None
        pause = self._java_restarts.end()
        if not self._ever_reached and self._java_restarts.ends >= FIRST_STARTS:
            words = (self._settings.log_dir / "torchserve.console.log").read_text(errors="replace").splitlines()[-15:]
            raise StartError("TorchServe exits as soon as it starts. Its last output:\n" + "\n".join(words))
        log(f"TorchServe exited ({ending(java)}); restarting it{pause}{self._describe_full_disk()}")

    def _describe_full_disk(self) -> str:
        """Say which disk that TorchServe needs is full; nothing where none is."""
        for folder in (self._run_dir.path, self._settings.log_dir):
            with contextlib.suppress(OSError):
                if shutil.disk_usage(folder).free < LEAST_BYTES:
                    return f". The disk of {folder} is full: free some room there"
        return ""

    def _end_hung(self) -> None:
        java, now = self._java, time.monotonic()
        if java is not None and java.poll() is None and now - self._watched_at >= WATCH_S:
            self._watched_at = now
            self._reconciler.end_hung(java.pid)

    def _reconcile(self) -> None:
        if self._java is None or self._java.poll() is not None:
            return
        now = time.monotonic()
        if now - self._looked_at < (TICK_S if self._reconciler.loading else self._watch_s):
            return
        self._looked_at = now
        if self._torchserve is None:
            client = TorchServeClient(
                self._run_dir.management_socket, self._classes.delay_ms, self._settings.log_dir / "workers.log"
            )
            if not client.reachable():
                client.close()
                return
            self._torchserve, self._ever_reached = client, True
        try:
            self._reconciler.reconcile(self._torchserve, lambda: bool(self._signals))
            self._reached_at = time.monotonic()
        except httpx.TransportError:
            if self._java.poll() is None and time.monotonic() - self._reached_at > HUNG_S:
                log(f"TorchServe's management has not answered for {HUNG_S:g} s; killing it")
                _end_group(self._java, signal.SIGKILL)

    def _publish(self) -> None:
        state = (self._reconciler.check_health(), self._reconciler.list_answering(), self._reconciler.list_states())
        if state != self._published:
            self._gateway.readiness.publish(*state)
            self._published = state

    def _announce(self) -> None:
        settings = self._settings
        log(f"serving {', '.join(map(str, self._reconciler.list_ready())) or 'nothing'}")
        url = own_url(settings, settings.host, settings.inference_port)
        open_to_all = "  (and every other address of this machine)" if settings.host in ("0.0.0.0", "::") else ""
        log(f"  predictions  {url}/predictions/MODEL{open_to_all}")
        where = f"token in {self._token_path}" if self._token_path else "token in MARINA_MANAGEMENT_TOKEN"
        url = own_url(settings, settings.management_host, settings.management_port)
        log(f"  management   {url}/models  ({where})")
        log(f"  metrics      http://127.0.0.1:{settings.metrics_port}/metrics")
        if "console" in settings.interfaces:
            url = own_url(settings, settings.host, settings.inference_port)
            token, path = console_token(settings)
            shown = f"sign in with {token}" if sys.stdout.isatty() else f"token in {path}"
            log(f"  console      {url}/console  ({shown})")
        log(f"  logs         {settings.log_dir}")

    def _note_processes(self) -> None:
        processes = {"java": self._java, "nginx": self._gateway.process}
        processes |= {sidecar.name: sidecar.process for sidecar in self._sidecars}
        state = {
            "run_dir": str(self._run_dir.path),
            "supervisor": os.getpid(),
            **{name: process.pid for name, process in processes.items() if process is not None},
        }
        if state == self._noted:
            return
        write_atomically(self._settings.state_dir / "running.json", json.dumps(state) + "\n")
        self._noted = state

    def _stop(self) -> None:
        """Let requests in flight finish, then end TorchServe; a second signal does not wait."""
        first = len(self._signals)
        if first:
            log("stopping: requests in flight finish (signal again to stop at once)")
        parts: dict[str, Callable[[], object]] = {
            "publishing that nothing is ready": lambda: self._gateway.readiness.publish(
                False, {}, self._reconciler.list_states()
            ),
            "ending streams": self._end_streams,
            "stopping the gateway": lambda: self._end_gateway(first),
            "ending TorchServe": lambda: self._end_java(first),
            "stopping the sidecars": self._end_sidecars,
            "tidying up": lambda: (self._settings.state_dir / "running.json").unlink(missing_ok=True),
        }
        for name, part in parts.items():
            with self._guard.part(name):
                part()
        if first:
            log("stopped")

    def _end_streams(self) -> None:
        for sidecar in self._sidecars:
            sidecar.end_streams()

    def _end_gateway(self, first: int) -> None:
        self._gateway.signal(signal.SIGQUIT)
        if self._gateway.process is not None:
            self._wait(self._gateway.process, self._settings.drain_timeout_s + 2, first)
            _end_group(self._gateway.process, signal.SIGKILL)

    def _end_java(self, first: int) -> None:
        if self._java is not None:
            if self._java.poll() is None:
                self._java.terminate()
                self._wait(self._java, JAVA_STOP_S, first)
            _end_group(self._java, signal.SIGKILL)
        if self._torchserve is not None:
            self._torchserve.close()

    def _end_sidecars(self) -> None:
        for sidecar in self._sidecars:
            sidecar.ask_to_stop()
        end = time.monotonic() + SIDECARS_STOP_S
        for sidecar in self._sidecars:
            sidecar.stop(end - time.monotonic())

    def _wait(self, process: subprocess.Popen[bytes], timeout_s: float, signals: int) -> None:
        end = time.monotonic() + timeout_s
        while process.poll() is None and time.monotonic() < end and len(self._signals) <= signals:
            time.sleep(0.02)


def _wake(wake: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is awake, or has ended
        wake.send(b"\0")


def _end_group(process: subprocess.Popen[bytes], signum: int) -> None:
    """Signal everything that a child of ours started, and the child itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signum)
    if signum == signal.SIGKILL:
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a disk ends when that answers
            process.wait(KILL_S)
