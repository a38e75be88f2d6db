"""The gateway: nginx, configured from the settings.

The configuration is rendered and tested with ``nginx -t`` before nginx starts. Which versions there are and who gets
which is no configuration but folders (`marina.serving.traffic_routes`): it changes without a reload.
"""

import fcntl
import os
import re
import resource
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jinja2

from archives.errors import MarinaError
from marina.processes.children import end_with_parent
from marina.serving.concurrency_limits import QUEUED_PART, TIERS
from marina.serving.preflight import is_loopback
from marina.serving.programs import find_nginx, nginx_version
from marina.serving.readiness import Readiness
from marina.serving.run_dir import RunDir
from marina.serving.traffic_routes import Routes
from marina.settings import ROOT, Settings

TEMPLATE = ROOT / "deploy" / "gateway" / "nginx.conf.j2"
MOST_OPEN_FILES = 8192
RETRIED_SHARE = 0.2  # of what a version can answer may be second and third attempts
HEAP_PER_BODY = 4  # TorchServe holds a waiting body about three times, and needs room for the rest
# Names of sizes, regular expressions for the lengths, and the longest of them, in bytes.
SIZES = (
    ("30k", r"[3-9]\d{4}", 100_000),
    ("100k", r"[12]\d{5}", 300_000),
    ("300k", r"[3-9]\d{5}", 1_000_000),
    ("1m", r"[12]\d{6}", 3_000_000),
)
LEFT_STEPS = 8  # what is left of the time limit is reported in eighths
FINE_LIMIT_S = 60.0  # up to here it is reported in tenths of a second how much has passed, beyond by whole ones
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class BodySize:
    """Bodies of about one size.

    Attributes
    ----------
    name
        What it is called in the configuration.
    digits
        A regular expression for their lengths; empty for whatever no other size fits.
    at_once
        How many of them may be in flight.
    """

    name: str
    digits: str
    at_once: int


class GatewayError(MarinaError):
    """nginx refused a configuration or did not start; the message carries its own words."""


def address(host: str, port: int) -> str:
    """Phrase an address to listen on; IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def own_url(settings: Settings, host: str, port: int) -> str:
    """Return where this machine reaches a port of the gateway that listens on an address, or on all."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{'http' if settings.tls_certificate is None else 'https'}://{address(host, port)}"


def _listen(host: str, port: int) -> str:
    """Phrase what nginx is to listen on; all addresses of IPv6 include those of IPv4, as elsewhere."""
    return f"{address(host, port)}{' ipv6only=off' if host == '::' else ''}"


def render(settings: Settings, token: str, counters: int = 0) -> str:
    """Render the whole configuration.

    Parameters
    ----------
    token
        The management token.
    counters
        Which counters of requests in flight to use: another number, and they begin at nothing.
    """
    source = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    source.filters["regex"] = re.escape
    per_second = settings.rate_limit_per_s
    return source.from_string(TEMPLATE.read_text()).render(
        settings=settings,
        tls=settings.tls_certificate is not None,
        as_root=os.geteuid() == 0,
        supervisor=os.getpid(),
        open_files=min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], MOST_OPEN_FILES),
        timeout_ms=int(1000 * settings.request_timeout_s),
        left_steps=LEFT_STEPS,
        left_by_tenths=settings.request_timeout_s <= FINE_LIMIT_S,
        time_left=time_left(settings.request_timeout_s),
        tiers=TIERS,
        counters=counters,
        body_sizes=body_sizes(settings),
        retries_per_minute=60 * RETRIED_SHARE / (QUEUED_PART * settings.request_timeout_s),
        rate=f"{per_second:.0f}r/s" if per_second >= 1 else f"{max(1, round(per_second * 60))}r/m",
        inference_address=_listen(settings.host, settings.inference_port),
        management_address=_listen(settings.management_host, settings.management_port),
        hosts=[*LOOPBACK, *settings.hosts],
        inference_named=bool(settings.hosts) or is_loopback(settings.host),
        management_named=bool(settings.hosts) or is_loopback(settings.management_host),
        inference_tokens=[token.get_secret_value() for token in settings.inference_tokens],
        feedback_tokens=[token.get_secret_value() for token in settings.feedback_tokens],
        management_token=token,
    )


def body_sizes(settings: Settings) -> list[BodySize]:
    """Divide a part of TorchServe's heap among bodies of different sizes; those below 30 kB are not counted."""
    share = settings.heap_bytes / HEAP_PER_BODY / (len(SIZES) + 1)
    sizes = [BodySize(name, digits, max(1, int(share / most))) for name, digits, most in SIZES]
    largest = max(settings.body_limit_bytes, SIZES[-1][2])
    return [*sizes, BodySize("largest", "", max(1, int(share / largest)))]


def time_left(limit_s: float) -> list[tuple[str, int]]:
    """Tell how much of a time limit is left, for nginx, which compares texts and cannot subtract.

    Returns
    -------
    list of (str, int)
        How many seconds have passed, as ``$request_time`` begins (``"3.4"``, or ``"75"`` where limits are long), and
        how many whole `LEFT_STEPS` ths of the limit are left at the end of that moment; where it is none, nothing.
    """
    unit_s = 0.1 if limit_s <= FINE_LIMIT_S else 1.0
    steps = [int(LEFT_STEPS * (1 - (count + 1) * unit_s / limit_s)) for count in range(int(limit_s / unit_s))]
    return [
        (f"{count * unit_s:.1f}" if unit_s < 1 else str(count), left) for count, left in enumerate(steps) if left > 0
    ]


class Gateway:
    """One nginx of ours: its configuration, its process, and its routes."""

    def __init__(self, settings: Settings, token: str, run_dir: RunDir) -> None:
        self._settings = settings
        self._token = token
        self._run_dir = run_dir
        self._program = find_nginx(settings)
        # What goes wrong before the configuration is read goes to stderr, where nginx can send it there.
        self._early_errors = ["-e", "stderr"] if nginx_version(self._program) >= (1, 19, 5) else []
        self._config = run_dir.path / "nginx.conf"
        self._workers: set[str] = set()
        self._leaving: set[str] = set()
        self._counters = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._life = os.pipe()
        self.routes = Routes(run_dir.path)
        self.readiness = Readiness(run_dir.path)

    def configure(self) -> None:
        """Write the configuration.

        Raises
        ------
        GatewayError
            When nginx does not accept it.
        """
        self._write()
        for name, target in (
            ("logs", self._settings.log_dir),
            ("tls.crt", self._settings.tls_certificate),
            ("tls.key", self._settings.tls_key),
        ):
            link = self._run_dir.path / name
            link.unlink(missing_ok=True)
            if target is not None:
                link.symlink_to(target.absolute())  # and no further: a renewed certificate may be another file
        test = subprocess.run(
            [*self._command, "-t"],
            cwd=self._run_dir.path, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if test.returncode != 0:
            raise GatewayError(f"nginx refuses the configuration {self._config}:\n{test.stderr.strip()}")

    def start(self) -> None:
        """Start nginx in a session of its own; all of its processes end when the supervisor does."""
        (self._run_dir.path / "again.sock").unlink(missing_ok=True)  # a killed one leaves it behind
        self._workers = set()
        end = os.open(f"/proc/self/fd/{self._life[0]}", os.O_RDONLY)  # each group has one of its own
        with (self._settings.log_dir / "gateway.console.log").open("ab") as console, os.fdopen(end, "rb"):
            self.process = subprocess.Popen(
                self._command,
                cwd=self._run_dir.path,  # unix sockets are named from here
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                pass_fds=[end],
                preexec_fn=_end_with(end),  # noqa: PLW1509 - a few calls
            )

    def running(self) -> bool:
        """Whether the nginx process is there."""
        return self.process is not None and self.process.poll() is None

    def forget_lost(self) -> bool:
        """Count requests from zero if a worker of nginx ended by itself: those that it had would be counted for good.

        Returns
        -------
        bool
            Whether one did. The others finish what they have, with the counters that they have.
        """
        if self.process is None or not self.running():
            return False
        try:
            children = set(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split())
        except OSError:
            return False
        lost = bool(self._workers - self._leaving - children)
        self._workers = children
        if lost:
            self._counters += 1
            self._write()
            self.signal(signal.SIGHUP)
            self._leaving = children  # new ones take their place
        return lost

    def _write(self) -> None:
        self._config.touch(mode=0o600)  # it holds the tokens
        self._config.write_text(render(self._settings, self._token, self._counters))

    def signal(self, signum: int) -> None:
        """Send nginx a signal, if it is still there."""
        if self.process is not None and self.running():
            self.process.send_signal(signum)

    @property
    def _command(self) -> list[str]:
        return [self._program, "-p", str(self._run_dir.path), "-c", self._config.name, *self._early_errors]


def _end_with(pipe: int) -> Callable[[], None]:
    """Make a ``preexec_fn``: nginx and all that it starts get SIGTERM when the supervisor ends, however it ends.

    The kernel can tell a parent's end to its children only, and a killed nginx tells its own nothing. But a process
    that holds the reading end of a pipe can have a signal sent to a whole group when its last writer is gone
    (``man 2 fcntl``, F_SETOWN, F_SETSIG), and nginx's processes inherit that end.

    Parameters
    ----------
    pipe
        The reading end. Only the supervisor has the other.
    """
    tie = end_with_parent(signal.SIGTERM)

    def arrange() -> None:
        fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpid())  # its group: it leads a session
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGTERM)
        fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_ASYNC)
        tie()

    return arrange
