"""A Redis server of the tests' own, on a free port, for as long as a block of code runs."""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis

from marina.processes.children import end_with_parent
from marina.serving.temporary_server import free_ports


@dataclass
class Redis:
    """A server that keeps nothing on disk unless asked to (`redis.Redis.save`)."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> "redis.Redis":
        """Return a connection to it; close it."""
        return redis.Redis(port=self.port)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", *options],
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - called from main threads only
            )
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(redis.ConnectionError), self.client() as client:
                client.ping()
                return
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError((self.folder / "redis.log").read_text())
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


def missing() -> str:
    """Say why there can be no server here; nothing when there can be."""
    return "" if shutil.which("redis-server") else "no Redis here: sudo apt-get install redis-server"


@contextlib.contextmanager
def running() -> Iterator[Redis]:
    """Run a server until the block ends."""
    with tempfile.TemporaryDirectory(prefix="mr-", dir="/tmp") as folder:
        server = Redis(Path(folder), free_ports(1)[0])
        server.start()
        try:
            yield server
        finally:
            server.kill()
