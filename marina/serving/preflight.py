"""What must be true before a server starts: it is alone in its state folder, on free ports, no token in the clear."""

import contextlib
import fcntl
import importlib.util
import ipaddress
import os
import socket
import time
from collections.abc import Iterator

import psutil

from archives.errors import MarinaError
from marina.database.half_restored import check_restored
from marina.processes.console import log
from marina.settings import Settings


class StartError(MarinaError):
    """The server cannot start; the message says why and what to do."""


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_addresses(settings: Settings) -> None:
    """Make sure that this machine has the addresses that the gateway is to listen on.

    Raises
    ------
    StartError
        Says which setting to change.
    """
    for setting, host in (("MARINA_HOST", settings.host), ("MARINA_MANAGEMENT_HOST", settings.management_host)):
        if not _is_here(host):
            raise StartError(
                f"{setting}={host} is no address of this machine, and no name of one: set it to 127.0.0.1 or ::1 for "
                "this machine alone, to 0.0.0.0 or :: for all of its addresses, or to one of these."
            )


def check_exposure(settings: Settings) -> None:
    """Make sure that no token crosses the network in the clear unless the settings say that it may.

    Raises
    ------
    StartError
        Says which settings to change.
    """
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise StartError("TLS takes both, MARINA_TLS_CERTIFICATE and MARINA_TLS_KEY, or neither.")
    for setting, path in (
        ("MARINA_TLS_CERTIFICATE", settings.tls_certificate),
        ("MARINA_TLS_KEY", settings.tls_key),
    ):
        if path is not None and not (path.is_file() and os.access(path, os.R_OK)):
            raise StartError(f"{setting}: there is no file {path} that this user can read.")
    if settings.tls_certificate is not None or settings.plaintext:
        return
    tokens = settings.inference_tokens or settings.feedback_tokens
    for setting, host, asks in (
        ("MARINA_HOST", settings.host, bool(tokens)),
        ("MARINA_MANAGEMENT_HOST", settings.management_host, True),
    ):
        if asks and not is_loopback(host):
            raise StartError(
                f"{setting}={host} lets tokens cross the network unencrypted. Set MARINA_TLS_CERTIFICATE and "
                "MARINA_TLS_KEY, or MARINA_PLAINTEXT=true where something in front speaks TLS."
            )


def check_state_dir(settings: Settings) -> None:
    """Make sure that this user may work in the state folder, and that it is no half-restored one.

    Raises
    ------
    StartError
        Says whose it is, and which setting names another one.
    HalfRestoredError
        Says how the restore is continued.
    """
    path = settings.state_dir.absolute()
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        raise StartError(
            f"The state folder is {path}, and this user (id {os.geteuid()}) may not write in {there}, which is of the "
            f"user with id {there.lstat().st_uid}. Start the server as that one or as root, have the folder given to "
            f"you (chown -R {os.geteuid()} {path}), or set MARINA_STATE_DIR to one of your own."
        )
    check_restored(settings)


def check_loop(settings: Settings) -> None:
    """Make sure that the loop, where the server is to run it beside itself, has what trains.

    Raises
    ------
    StartError
        When it has not, as in an image that serves alone.
    """
    if settings.ml_loop and importlib.util.find_spec("training") is None:
        raise StartError(
            "MARINA_ML_LOOP=true runs scripts/loop.py beside the server, and training/ is not here: set it where the "
            "whole checkout is, and leave it unset here. One loop is enough for all servers of a database."
        )


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the state folder, so that one supervisor at a time works from it; from now on all files are private.

    Logs name clients and requests, the spool holds answers: the mask reaches all that the supervisor starts.

    Raises
    ------
    StartError
        When another one holds it.
    """
    os.umask(0o077)
    for folder in (settings.state_dir, settings.log_dir, settings.spool_dir):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            folder.chmod(0o700)
        except PermissionError:
            log(f"{folder} is another user's, so its mode stays {folder.stat().st_mode & 0o777:o}: close it to others")
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


def check_ports(settings: Settings, wait_s: float = 0.0) -> None:
    """Make sure that the three ports are free.

    Parameters
    ----------
    wait_s
        How long to wait for those that are not.

    Raises
    ------
    StartError
        Says who listens there and which setting to change.
    """
    end = time.monotonic() + wait_s
    for setting, host, port in (
        ("MARINA_INFERENCE_PORT", settings.host, settings.inference_port),
        ("MARINA_MANAGEMENT_PORT", settings.management_host, settings.management_port),
        ("MARINA_METRICS_PORT", "127.0.0.1", settings.metrics_port),
    ):
        while (why := _in_use(host, port)) and time.monotonic() < end:
            time.sleep(0.1)
        if why:
            what = _listener(port)
            raise StartError(f"Port {port} of {host} cannot be used ({why}): {what} or set {setting} to a free port.")


def _is_here(host: str) -> bool:
    """Whether an address is one of this machine's: whether anything may listen on it at all."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def _in_use(host: str, port: int) -> str:
    """Say why a port cannot be listened on; nothing when it can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                words = " ".join(psutil.Process(connection.pid).cmdline())[:100]
                return f"process {connection.pid} ({words}) listens there. Stop it,"
    except psutil.Error:
        pass
    if port < 1024 and os.geteuid():
        return "ports below 1024 are root's. Put another proxy there, lower net.ipv4.ip_unprivileged_port_start,"
    return "another user's process listens there. Stop it,"
