"""A temporary server: the supervisor as a user starts it, on free ports, for as long as a block of code runs.

For tests, benchmarks and sweeps: they run the same stack as production.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from marina.processes.children import end_with_parent
from marina.serving.stub_archive import build_stub
from marina.settings import ROOT

TOKEN = "a-temporary-management-token"
SIDECARS_S = 30.0
START_S = 180.0  # a loaded two-core machine takes its time to start Java and import torch


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    management_url: str
    metrics_url: str
    token: str
    client_tokens: tuple[str, ...]
    state_dir: Path
    temp_dir: Path
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def authorization(self) -> dict[str, str]:
        """The management token, as a header."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def client_authorization(self) -> dict[str, str]:
        """The first inference token, as a header; nothing where there is none."""
        return {"Authorization": f"Bearer {self.client_tokens[0]}"} if self.client_tokens else {}

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of supervisor, java, nginx and the sidecars, as they are now."""
        state = json.loads((self.state_dir / "running.json").read_text())
        return {name: pid for name, pid in state.items() if name != "run_dir"}

    @property
    def run_dir(self) -> Path:
        """The private folder of this run."""
        return Path(json.loads((self.state_dir / "running.json").read_text())["run_dir"])

    @property
    def log_dir(self) -> Path:
        """Where its logs are."""
        return self.state_dir / "logs"

    def worker_pids(self, model: str, version: str = "all") -> list[int]:
        """Process ids of the workers of a version, or of all, as they are now; none where it is not served."""
        answer = httpx.get(f"{self.management_url}/models/{model}/{version}", headers=self.authorization)
        found = answer.json() if answer.is_success else []
        return [worker["pid"] for one in found for worker in one["workers"] if worker["pid"] > 0]

    def wait(self, ready: bool = True, timeout_s: float = START_S) -> None:
        """Wait until /ping is 200 and no version is loading, or until it is not 200."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.output.read_text()}")
            with contextlib.suppress(httpx.TransportError):
                answer = httpx.get(f"{self.url}/ping", timeout=5, headers=self.client_authorization)
                states = {state for versions in answer.json().get("models", {}).values() for state in versions.values()}
                if answer.is_success and ready and states <= {"ready", "refused"}:
                    self._wait_for_labels()
                    return
                if not answer.is_success and not ready:
                    return
            time.sleep(0.1)
        raise AssertionError(f"not {'ready' if ready else 'unready'} after {timeout_s} s:\n{self.output.read_text()}")

    def _wait_for_labels(self) -> None:
        """Wait a while for the sidecars, which start when the first model answers."""
        end = time.monotonic() + SIDECARS_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                if (self.run_dir / "events.sock").exists():
                    return
            time.sleep(0.05)

    def stop(self, signum: int = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        """Stop it as Ctrl-C would; returns its exit status."""
        self.process.send_signal(signum)
        return self.process.wait(timeout_s)


def free_ports(count: int) -> list[int]:
    """Find free ports on loopback."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def running(
    archives: Sequence[Path],
    settings_overrides: Mapping[str, str | int | float] | None = None,
    *,
    arguments: Sequence[str] = (),
    temp_dir: Path | None = None,
    wait: bool = True,
) -> Iterator[Server]:
    """Run ``scripts/serve.py`` with `archives` on free ports until the block ends.

    Parameters
    ----------
    settings_overrides
        Settings by their names, without prefix: ``{"request_timeout_s": 5}``.
    temp_dir
        Its folder for temporary files; None: one of its own.
    wait
        Whether to wait until every archive is ready or refused, and the server healthy.
    """
    ports = free_ports(3)
    # A short path of its own under /tmp: sockets live in it, and what is left behind shows.
    with tempfile.TemporaryDirectory(prefix="mt-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        temp_dir, output = temp_dir or Path(folder) / "tmp", Path(folder) / "output.txt"
        temp_dir.mkdir(exist_ok=True)
        values: dict[str, str | int | float] = {
            "inference_port": ports[0],
            "management_port": ports[1],
            "metrics_port": ports[2],
            "management_token": TOKEN,
            "state_dir": f"{folder}/state",
            "java_heap": "512m",
            "unsigned": "allow",  # it serves what it is given
            "user": "root",  # where root starts it: its folders need no other owner
            **(settings_overrides or {}),
        }
        env = {name: value for name, value in os.environ.items() if not name.startswith("MARINA_")}
        env |= {f"MARINA_{name.upper()}": str(value) for name, value in values.items()}
        env |= {"TMPDIR": str(temp_dir), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, str(ROOT / "scripts" / "serve.py"), *arguments]
        for archive in archives:
            command += ["--archive", str(archive)]
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                env=env,
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                # A killed benchmark or test leaves no server behind.
                preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - called from main threads only
            )
        server = Server(
            url=f"http://127.0.0.1:{values['inference_port']}",
            management_url=f"http://127.0.0.1:{values['management_port']}",
            metrics_url=f"http://127.0.0.1:{values['metrics_port']}",
            token=str(values["management_token"]),
            client_tokens=tuple(json.loads(str(values.get("inference_tokens", "[]")))),
            state_dir=Path(str(values["state_dir"])),
            temp_dir=temp_dir,
            process=process,
            output=output,
        )
        try:
            if wait:
                server.wait()
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _serve_floor() -> None:
    """Serve an empty handler on port 8080 until Ctrl-C, to measure what the stack costs alone."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running([build_stub(Path(folder), config={"batchSize": 64})], {"inference_port": 8080}) as floor,
    ):
        print(f"{floor.url}/predictions/empty", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            floor.process.wait()


if __name__ == "__main__":  # python -m marina.serving.temporary_server
    _serve_floor()
