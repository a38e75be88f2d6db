"""A server on trial: the supervisor as a user starts it, on free ports, for as long as a block of code runs.

For tests, benchmarks and sweeps; all of them meet the very stack that production runs.
"""

import contextlib
import hashlib
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

from archives.certificate import write_npz
from archives.contract import FORMAT
from archives.store import pack
from rollout.torchserve import end_with_parent
from settings import ROOT

TOKEN = "a-management-token-on-trial"
START_S = 180.0  # a loaded two-core machine takes its time to start Java and import torch

EMPTY = '''
from handlers.intake import read_ahead


class Empty:
    """The floor: what the stack costs when the model costs nothing."""

    def initialize(self, context):
        read_ahead()

    def handle(self, data, context):
        return [b"{}"] * len(data)
'''


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    management_url: str
    metrics_url: str
    token: str
    state_dir: Path
    temp_dir: Path
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def authorization(self) -> dict[str, str]:
        """The management token, as a header."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of supervisor, java, nginx and the companions, as they are now."""
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
        """Wait until /ping is 200, or until it is not."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.output.read_text()}")
            with contextlib.suppress(httpx.TransportError):
                if (httpx.get(f"{self.url}/ping", timeout=5).status_code == 200) is ready:
                    return
            time.sleep(0.1)
        raise AssertionError(f"not {'ready' if ready else 'unready'} after {timeout_s} s:\n{self.output.read_text()}")

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
    wait: bool = True,
) -> Iterator[Server]:
    """Run ``scripts/serve.py`` with `archives` on free ports until the block ends.

    Parameters
    ----------
    settings_overrides
        Settings by their names, without prefix: ``{"request_timeout_s": 5}``.
    wait
        Whether to wait until /ping says that every archive is ready.
    """
    ports = free_ports(3)
    # A short path of its own under /tmp: sockets live in it, and what is left behind shows.
    with tempfile.TemporaryDirectory(prefix="mt-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        temp_dir, state_dir, output = Path(folder) / "tmp", Path(folder) / "state", Path(folder) / "output.txt"
        temp_dir.mkdir()
        values: dict[str, str | int | float] = {
            "inference_port": ports[0],
            "management_port": ports[1],
            "metrics_port": ports[2],
            "management_token": TOKEN,
            "state_dir": str(state_dir),
            "java_heap": "512m",
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
            state_dir=state_dir,
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


def archive(
    folder: Path,
    model: str = "empty",
    version: str = "1.0",
    code: str = EMPTY,
    config: Mapping[str, object] | None = None,
) -> Path:
    """Build a tiny archive around a handler's source code: the linter passes it, though it proves nothing."""
    manifest = {
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {
            "modelName": model,
            "modelVersion": version,
            "handler": "service.py",
            "configFile": "model-config.yaml",
        },
    }
    settings = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 8, "responseTimeout": 120, **(config or {})}
    nothing = write_npz({})
    members = {
        "MAR-INF/MANIFEST.json": json.dumps({"createdOn": "01/01/2026 00:00:00"} | manifest).encode(),
        "service.py": code.encode(),
        **{name: (ROOT / name).read_bytes() for name in ("handlers/__init__.py", "handlers/intake.py")},
        "model-config.yaml": json.dumps(settings).encode(),  # JSON is YAML
        "contract.json": json.dumps({"format": FORMAT}).encode(),
        "certificate.npz": nothing,
        "reference.npz": nothing,
        "model.onnx": b"",
        **dict.fromkeys(("example.json", "provenance.json", "sbom.json"), b"{}"),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    members["certificate.json"] = json.dumps({"format": FORMAT, "sha256": hashes}).encode()
    path = folder / f"{model}-{version}.mar"
    pack(members, path)
    return path


if (
    __name__ == "__main__"
):  # python -m rollout.trial: an empty handler on 8080 until Ctrl-C, to measure the stack's floor
    with (
        tempfile.TemporaryDirectory() as place,
        running([archive(Path(place), config={"batchSize": 64})], {"inference_port": 8080}) as floor,
    ):
        print(f"{floor.url}/predictions/empty", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            floor.process.wait()
