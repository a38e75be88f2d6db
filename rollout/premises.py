"""Where the server runs: one at a time from a state folder, on free ports, in a private folder that leaves no trace."""

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from rollout.torchserve import RunDir
from settings import Settings

PREFIX = "marina-"
LONGEST_SOCKET_BYTES = 107


class StartError(RuntimeError):
    """The server cannot start; the message says why and what to do."""


def say(text: str) -> None:
    """Tell the operator something, with the time."""
    with contextlib.suppress(OSError):  # a closed terminal is no reason to stop serving
        print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the state folder, so that one supervisor at a time works from it.

    Raises
    ------
    StartError
        When another one holds it.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with (settings.state_dir / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip()
            raise StartError(
                f"Marina already serves from {settings.state_dir} (process {pid}): stop it with `kill {pid}` or "
                "Ctrl-C, or give this one its own MARINA_STATE_DIR and ports."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def check_ports(settings: Settings) -> None:
    """Make sure that the three ports are free.

    Raises
    ------
    StartError
        Says who listens there and which setting to change.
    """
    for setting, host, port in (
        ("MARINA_INFERENCE_PORT", settings.host, settings.inference_port),
        ("MARINA_MANAGEMENT_PORT", settings.management_host, settings.management_port),
        ("MARINA_METRICS_PORT", "127.0.0.1", settings.metrics_port),
    ):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise StartError(
                    f"Port {port} of {host} cannot be used ({error.strerror}): {_listener(port)} Stop it, or set "
                    f"{setting} to a free port."
                ) from error


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                words = " ".join(psutil.Process(connection.pid).cmdline())[:100]
                return f"process {connection.pid} ({words}) listens there."
    except psutil.Error:
        pass
    return "another user's process listens there."


@contextlib.contextmanager
def private_run_dir() -> Iterator[RunDir]:
    """Make the private folder of this run, after removing those of runs that were killed; remove it at the end.

    A run holds a lock on its folder. So another run knows that it is alive, and cleaners of temporary folders leave
    it alone.
    """
    parent = Path(tempfile.gettempdir())
    if len(str(parent / f"{PREFIX}12345678" / "t" / ".ts.sock.12345")) > LONGEST_SOCKET_BYTES:
        parent = Path("/tmp")
    remove_stale(parent)
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (path / "owner").write_text(str(os.getpid()))
        yield RunDir(path)
    finally:
        for _ in range(20):  # a process just killed may still be letting go
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                break
            time.sleep(0.1)
        os.close(descriptor)


def remove_stale(parent: Path) -> None:
    """Remove the run folders that killed supervisors of this user left behind."""
    for path in parent.glob(f"{PREFIX}????????"):
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.stat().st_uid != os.geteuid() or not (path / "owner").exists():
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                say(f"removing what a killed run left: {path}")
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
