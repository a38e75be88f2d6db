"""The supervisor's own helpers beside the server: one Python process each, started again when it ends."""

import contextlib
import os
import signal
import subprocess
import sys
from typing import get_args

from marina.processes.children import end_with_parent
from marina.processes.console import log
from marina.serving.restart_backoff import Restarts, ending
from marina.serving.run_dir import RunDir
from marina.setting_groups.products import Interface
from marina.settings import ROOT, Settings

MODULES = {
    "collector": "marina.events.collector",
    "api": "marina.monitoring.api",
    "controller": "marina.rollout.controller",
    "shadow": "marina.rollout.shadow.service",
    "watcher": "marina.monitoring.watcher",
    "products": "marina.products.service",
    "live": "marina.products.live.service",
    "console": "marina.console.service",
}
LOOP = "loop"
"""Beside them where MARINA_ML_LOOP asks for it: ``scripts/loop.py daemon``."""

OFFERED = frozenset(get_args(Interface))
"""Those that run where MARINA_INTERFACES names them; the others belong to every server."""

STREAMING = {"live": signal.SIGTERM, "products": signal.SIGUSR1}
"""Those whose connections last, and what tells them to end these, before the gateway waits for what is in flight. The
products' interface continues with its other requests."""


def chosen(settings: Settings) -> list[str]:
    """Return the names of those that run beside a server."""
    offered = [name for name in MODULES if name not in OFFERED or name in settings.interfaces]
    return [*offered, *([LOOP] if settings.ml_loop else [])]


class Sidecar:
    """One process, ``python -m MODULE`` or the loop, that ends by SIGTERM.

    Attributes
    ----------
    replica
        The name by which it knows this server, where that is another than the settings'.
    """

    def __init__(self, name: str, settings: Settings, run_dir: RunDir) -> None:
        self.replica = ""
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self._command = [str(ROOT / "scripts" / "loop.py"), "daemon"] if name == LOOP else ["-m", MODULES[name]]
        self._settings = settings
        self._run_dir = run_dir
        self._restarts = Restarts()

    def keep(self) -> None:
        """Start it if it does not run and its pause is over."""
        if self.process is not None and self.process.poll() is None:
            return
        if self.process is not None and not self._restarts.noted:
            how = ending(self.process)
            log(f"the {self.name} exited ({how}); restarting it{self._restarts.end()}")
        if not self._restarts.due:
            return
        self._restarts.start()
        own = {"MARINA_REPLICA": self.replica} if self.replica else {}
        with (self._settings.log_dir / f"{self.name}.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self._command],
                env={**os.environ, **own, "MARINA_RUN_DIR": str(self._run_dir.path), "PYTHONUNBUFFERED": "1"},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - a few calls; nothing is lost by a kill
            )

    def rename(self, replica: str) -> None:
        """Let it go by another name of this server; it is started again for that."""
        self.replica = replica
        self.ask_to_stop()

    def end_streams(self) -> None:
        """Have it end the connections that last, if it has such."""
        if self.name in STREAMING:
            self._tell(STREAMING[self.name])

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self._tell(signal.SIGTERM)

    def stop(self, patience_s: float) -> None:
        """Wait until it has ended; kill it if it does not in that many seconds."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, patience_s))
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a disk ends when that answers
            self.process.wait(1.0)

    def _tell(self, signum: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signum)
