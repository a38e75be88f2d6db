"""The gateway: nginx, configured from the settings.

The configuration is rendered and tested with ``nginx -t`` before nginx starts. Which versions there are and who gets
which is no configuration but folders (`rollout.routes`): it changes without a reload.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import jinja2

from rollout.routes import Routes
from rollout.torchserve import MissingProgramError, RunDir, end_with_parent
from settings import ROOT, Settings

TEMPLATE = ROOT / "deploy" / "gateway" / "nginx.conf.j2"
MOST_OPEN_FILES = 8192
ATTEMPTS = 5  # the most times one request is asked: three by nginx's own retries, two behind a killed worker


class GatewayError(RuntimeError):
    """nginx refused a configuration or did not start; the message carries its own words."""


def address(host: str, port: int) -> str:
    """Phrase an address to listen on; IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def render(settings: Settings, token: str, run_dir: RunDir, token_hint: str = "") -> str:
    """Render the whole configuration.

    Parameters
    ----------
    token
        The management token.
    token_hint
        Where the management token is found, for those who come without it.
    """
    source = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    source.filters["regex"] = re.escape
    per_second = settings.rate_limit_per_s
    return source.from_string(TEMPLATE.read_text()).render(
        settings=settings,
        run=run_dir.path,
        logs=settings.log_dir.resolve(),
        as_root=os.geteuid() == 0,
        open_files=min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], MOST_OPEN_FILES),
        attempt_ms=int(1000 * settings.request_timeout_s / ATTEMPTS),
        rate=f"{per_second:.0f}r/s" if per_second >= 1 else f"{max(1, round(per_second * 60))}r/m",
        inference_address=address(settings.host, settings.inference_port),
        management_address=address(settings.management_host, settings.management_port),
        inference_tokens=[token.get_secret_value() for token in settings.inference_tokens],
        management_token=token,
        token_hint=token_hint,
    )


def find_nginx(settings: Settings) -> str:
    """Find the nginx program.

    Raises
    ------
    MissingProgramError
        When it is not installed.
    """
    found = shutil.which(settings.nginx, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingProgramError(
            f"The gateway needs nginx, and there is no {settings.nginx!r} on this machine: install it with the "
            "system's package manager (sudo apt-get install nginx), or set MARINA_NGINX to its path."
        )
    return found


class Gateway:
    """One nginx of ours: its configuration, its process, and its routes."""

    def __init__(self, settings: Settings, token: str, run_dir: RunDir, token_hint: str = "") -> None:
        self._settings = settings
        self._token = token
        self._run_dir = run_dir
        self._token_hint = token_hint
        self._program = find_nginx(settings)
        self._early_errors = _early_errors(self._program)
        self._config = run_dir.path / "nginx.conf"
        self.process: subprocess.Popen[bytes] | None = None
        self.routes = Routes(run_dir.path)
        self.report(False, {})

    def configure(self) -> None:
        """Write the configuration.

        Raises
        ------
        GatewayError
            When nginx does not accept it.
        """
        self._config.touch(mode=0o600)  # it holds the tokens
        self._config.write_text(render(self._settings, self._token, self._run_dir, self._token_hint))
        test = subprocess.run(
            [*self._command(self._config), "-t"], capture_output=True, text=True, check=False, timeout=60
        )
        if test.returncode != 0:
            raise GatewayError(f"nginx refuses the configuration {self._config}:\n{test.stderr.strip()}")

    def start(self) -> None:
        """Start nginx in a session of its own; it ends when the supervisor does."""
        with (self._settings.log_dir / "gateway.console.log").open("ab") as console:
            self.process = subprocess.Popen(
                self._command(self._config),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - one thread; SIGKILL would orphan workers
            )

    def running(self) -> bool:
        """Whether the nginx process is there."""
        return self.process is not None and self.process.poll() is None

    def signal(self, signum: int) -> None:
        """Send nginx a signal, if it is still there."""
        if self.process is not None and self.running():
            self.process.send_signal(signum)

    def report(self, ready: bool, states: dict[str, dict[str, str]]) -> None:
        """Publish the answer of ``/ping``: 200 when `ready`, else 503, with every version's state."""
        now, gone = ("ready", "unready") if ready else ("unready", "ready")
        body = json.dumps({"status": "Healthy" if ready else "Unhealthy", "models": states}) + "\n"
        fresh = self._run_dir.path / f"{now}.json.new"
        fresh.write_text(body)
        fresh.replace(self._run_dir.path / f"{now}.json")
        (self._run_dir.path / f"{gone}.json").unlink(missing_ok=True)

    def _command(self, config: Path) -> list[str]:
        return [self._program, "-p", str(self._run_dir.path), "-c", str(config), *self._early_errors]


def _early_errors(program: str) -> list[str]:
    """Send what goes wrong before the configuration is read to stderr, where nginx can (1.19.5 and newer)."""
    words = subprocess.run([program, "-v"], capture_output=True, text=True, check=False, timeout=60).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", words)
    return ["-e", "stderr"] if found and tuple(map(int, found.groups())) >= (1, 19, 5) else []
