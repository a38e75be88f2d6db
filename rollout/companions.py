"""The supervisor's own helpers beside the server: one Python process each, started again when it ends."""

import contextlib
import os
import signal
import subprocess
import sys

from rollout.premises import say
from rollout.restarts import Restarts, ending
from rollout.torchserve import RunDir, end_with_parent
from settings import ROOT, Settings

MODULES = ("events.collector", "events.api", "rollout.controller", "rollout.shadow")
STOP_S = 5.0


class Companion:
    """One process, ``python -m MODULE``, that ends by SIGTERM."""

    def __init__(self, module: str, settings: Settings, run_dir: RunDir) -> None:
        self.name = module.rpartition(".")[2]
        self.process: subprocess.Popen[bytes] | None = None
        self._module = module
        self._settings = settings
        self._run_dir = run_dir
        self._restarts = Restarts()

    def keep(self) -> bool:
        """Start it if it does not run and its pause is over; return whether it was started."""
        if self.process is not None and self.process.poll() is None:
            return False
        if self.process is not None and not self._restarts.noted:
            how = ending(self.process)
            say(f"the {self.name} ended ({how}); starting it again{self._restarts.end()}")
        if not self._restarts.due:
            return False
        self._restarts.start()
        with (self._settings.log_dir / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                env={**os.environ, "MARINA_RUN_DIR": str(self._run_dir.path), "PYTHONUNBUFFERED": "1"},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one thread; nothing is lost by a kill
            )
        return True

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self) -> None:
        """Wait until it has ended; kill it if it does not."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        self.process.kill()
        self.process.wait()
