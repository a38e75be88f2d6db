"""The private folder of one run: where it is made, what is in it, and that it goes when the run ends."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "marina-"
LONGEST_SOCKET_BYTES = 107


@dataclass(frozen=True)
class RunDir:
    """The private folder of one run (mode 0700, removed at the end). Paths are kept short: sockets allow 107 bytes."""

    path: Path

    @property
    def inference_socket(self) -> Path:
        """Where TorchServe answers predictions."""
        return self.path / "inference.sock"

    @property
    def management_socket(self) -> Path:
        """Where TorchServe answers management calls."""
        return self.path / "management.sock"

    @property
    def metrics_socket(self) -> Path:
        """Where TorchServe gives its metrics."""
        return self.path / "metrics.sock"

    @property
    def python(self) -> Path:
        """What TorchServe takes for its Python: each worker starts with `marina.serving.worker`."""
        return self.path / "python"

    @property
    def link_socket(self) -> Path:
        """Where the supervisor hears from the controller."""
        return self.path / "link.sock"

    @property
    def changes_socket(self) -> Path:
        """Where calls of the management API that change something are answered (`marina.rollout.management_api`)."""
        return self.path / "changes.sock"

    @property
    def temp(self) -> Path:
        """TorchServe's temporary folder: extracted archives and the workers' sockets."""
        return self.path / "t"


def run_parent() -> Path:
    """Return where run folders are made: the system's temporary folder, if its path is short enough for sockets."""
    parent = Path(tempfile.gettempdir())
    too_long = len(str(parent / f"{PREFIX}12345678" / "t" / ".ts.sock.12345")) > LONGEST_SOCKET_BYTES
    return Path("/tmp") if too_long else parent


@contextlib.contextmanager
def private_run_dir() -> Iterator[RunDir]:
    """Make the private folder of this run; remove it at the end.

    A run holds a lock on its folder. So another run knows that it is alive, and cleaners of temporary folders leave
    it alone.
    """
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=run_parent()))
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
