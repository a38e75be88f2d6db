"""The gateway: nginx, configured from the settings and the routes.

The configuration is rendered, tested with ``nginx -t``, swapped in atomically and reloaded gracefully. Which versions
are open for traffic right now is no configuration but files under ``open/``: TorchServe may come and go without a
reload.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from rollout.declaration import NAME, VERSION
from rollout.torchserve import MissingProgramError, RunDir, end_with_parent
from settings import ROOT, Settings

TEMPLATE = ROOT / "deploy" / "gateway" / "nginx.conf.j2"
MOST_OPEN_FILES = 8192
ATTEMPTS = 5  # the most times one request is asked: three by nginx's own retries, two behind a killed worker


class GatewayError(RuntimeError):
    """nginx refused a configuration or did not start; the message carries its own words."""


@dataclass(frozen=True)
class Route:
    """Where the requests for one model go.

    Attributes
    ----------
    model
        The model's name.
    versions
        Each declared version with its weight: its share of the requests that ask for no version is its weight over
        the sum. A weight of 0 is reached by asking for the version only. A client keeps its version while the
        weights stay; name a version whose share is to grow first, and those who have it keep it as it grows.
    refused
        Versions that are declared but failed to load.
    """

    model: str
    versions: tuple[tuple[str, float], ...]
    refused: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.model):
            raise ValueError(f"model name {self.model!r}: expected letters, digits, '.', '_' and '-'")
        for version, weight in self.versions:
            if not VERSION.fullmatch(version):
                raise ValueError(f"{self.model}: version {version!r}: expected letters, digits, '.', '_', '+', '-'")
            if weight < 0:
                raise ValueError(f"{self.model} {version}: weight {weight}: expected 0 or more")
        if not any(weight > 0 for _, weight in self.versions):
            raise ValueError(f"{self.model}: no version has a weight above 0, so nothing would answer")

    def shares(self) -> list[tuple[str, str]]:
        """Phrase the weights for ``split_clients``: percentages to two places, the last version takes the rest.

        A refused version's share goes to the others, as long as there are any.
        """
        weighted = [(version, weight) for version, weight in self.versions if weight > 0]
        weighted = [one for one in weighted if one[0] not in self.refused] or weighted
        total = sum(weight for _, weight in weighted)
        shares = [(version, f"{100 * weight / total:.2f}%") for version, weight in weighted[:-1]]
        return [share for share in shares if share[1] != "0.00%"] + [(weighted[-1][0], "*")]


def address(host: str, port: int) -> str:
    """Phrase an address to listen on; IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def render(settings: Settings, token: str, run_dir: RunDir, routes: Sequence[Route], token_hint: str = "") -> str:
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
    offer = ", ".join(f"{route.model} ({', '.join(version for version, _ in route.versions)})" for route in routes)
    per_second = settings.rate_limit_per_s
    return source.from_string(TEMPLATE.read_text()).render(
        settings=settings,
        routes=routes,
        offer=f"Models here: {offer or 'none yet'}.",
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
    """One nginx of ours: its configuration, its process, and which versions are open."""

    def __init__(self, settings: Settings, token: str, run_dir: RunDir, token_hint: str = "") -> None:
        self._settings = settings
        self._token = token
        self._run_dir = run_dir
        self._token_hint = token_hint
        self._program = find_nginx(settings)
        self._early_errors = _early_errors(self._program)
        self._config = run_dir.path / "nginx.conf"
        self.process: subprocess.Popen[bytes] | None = None
        (run_dir.path / "open").mkdir(exist_ok=True)
        self.report({})

    def configure(self, routes: Sequence[Route]) -> bool:
        """Bring the configuration in line with `routes`; a running gateway takes it over without losing a request.

        Returns
        -------
        bool
            Whether anything changed.

        Raises
        ------
        GatewayError
            When nginx does not accept the new configuration; the old one goes on.
        """
        text = render(self._settings, self._token, self._run_dir, routes, self._token_hint)
        if self._config.exists() and self._config.read_text() == text:
            return False
        fresh = self._config.with_suffix(".new")
        fresh.touch(mode=0o600)  # it holds the tokens
        fresh.write_text(text)
        test = subprocess.run([*self._command(fresh), "-t"], capture_output=True, text=True, check=False, timeout=60)
        if test.returncode != 0:
            raise GatewayError(f"nginx refuses the configuration {fresh}:\n{test.stderr.strip()}")
        fresh.replace(self._config)
        if self.running():
            self.signal(signal.SIGHUP)
        return True

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

    def open(self, model: str, version: str) -> None:
        """Let traffic through to a version."""
        place = self._run_dir.path / "open" / model / version
        place.parent.mkdir(exist_ok=True)
        place.touch()

    def close(self, model: str, version: str) -> None:
        """Answer 503 with Retry-After for a version."""
        (self._run_dir.path / "open" / model / version).unlink(missing_ok=True)

    def close_all(self) -> None:
        """Answer 503 with Retry-After for every version."""
        for place in (self._run_dir.path / "open").glob("*/*"):
            place.unlink(missing_ok=True)

    def report(self, states: dict[str, dict[str, str]]) -> None:
        """Publish the answer of ``/ping``: 200 when every version of every model is ready, else 503."""
        ready = bool(states) and all(state == "ready" for versions in states.values() for state in versions.values())
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
