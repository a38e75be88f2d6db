"""A PostgreSQL server of the tests' own, on a free port, for as long as a block of code runs."""

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from marina.processes.children import end_with_parent
from marina.serving.temporary_server import free_ports

PLACES = os.pathsep.join(
    [os.environ.get("PATH", ""), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"))[::-1])]
)


@dataclass
class Postgres:
    """A running server."""

    folder: Path
    port: int
    program: str
    user: str | None
    process: subprocess.Popen[bytes] = field(init=False)

    def url(self, name: str = "postgres") -> str:
        """Return the URL of one of its databases."""
        return f"postgresql://marina@127.0.0.1:{self.port}/{name}"

    def fresh(self, name: str, template: str = "template1") -> str:
        """Make a database, empty unless it is a copy of another; return its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def has(self, name: str) -> bool:
        """Tell whether there is a database of that name."""
        with psycopg.connect(self.url()) as connection:
            return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["-D", str(self.folder), "-p", str(self.port), "-k", str(self.folder)]
        with (self.folder.parent / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, *options, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
                user=self.user,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent(signal.SIGQUIT),  # noqa: PLW1509 - called from main threads only
            )
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url(), connect_timeout=2):
                return
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError((self.folder.parent / "postgres.log").read_text())
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power cut would."""
        for child in subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        ).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def missing() -> str:
    """Say why there can be no server here; nothing when there can be."""
    return "" if shutil.which("initdb", path=PLACES) else "no PostgreSQL here: sudo apt-get install postgresql"


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """Run a server until the block ends; it refuses to run as root, so there it runs as the package's user."""
    initdb, program = (shutil.which(name, path=PLACES) for name in ("initdb", "postgres"))
    assert initdb and program
    user = "postgres" if getpass.getuser() == "root" else None
    with tempfile.TemporaryDirectory(prefix="mp-", dir="/tmp") as folder:
        if user:
            shutil.chown(folder, user)
        data = Path(folder) / "data"
        subprocess.run(
            [initdb, "-D", data, "-U", "marina", "--auth=trust", "--no-sync", "-E", "UTF8"],
            user=user, check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        server = Postgres(data, free_ports(1)[0], program, user)
        server.start()
        try:
            yield server
        finally:
            server.process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            try:
                server.process.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
