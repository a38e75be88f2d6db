"""Prometheus and Alertmanager beside a running server, until Ctrl-C.

    python scripts/watch.py
    python scripts/watch.py --write-only /etc/marina-watch      # only their configurations, for services of the system

Both listen on 127.0.0.1 (MARINA_PROMETHEUS_PORT, MARINA_ALERTMANAGER_PORT) and keep their data in .marina/watch. The
rules are those of deploy/prometheus/rules; who hears of alerts is in the settings MARINA_ALERT_*.
"""

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from archives.errors import MarinaError
from marina.monitoring.watch_config import alertmanager_command, prometheus_command, write_config
from marina.processes.children import end_with_parent
from marina.processes.console import show
from marina.settings import read_settings

PROGRAMS = {"prometheus": "prometheus", "prometheus-alertmanager": "prometheus-alertmanager"}
"""Programs, and the Debian packages that have them."""

STOP_S = 10.0


class WatchError(MarinaError):
    """Nothing can be watched; the message says what to install, or what ended."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="watch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write-only", type=Path, metavar="FOLDER", help="write the configurations, start nothing")
    options = parser.parse_args(argv)
    settings = read_settings()
    folder = options.write_only or settings.state_dir.resolve() / "watch"
    try:
        prometheus, alertmanager = write_config(settings, folder)
        if options.write_only:
            show(f"{prometheus} and {alertmanager} are written")
            return 0
        programs = {name: _find(name) for name in PROGRAMS}
        commands = {
            "Prometheus": prometheus_command(programs["prometheus"], prometheus, settings, folder / "prometheus"),
            "Alertmanager": alertmanager_command(
                programs["prometheus-alertmanager"], alertmanager, settings, folder / "alertmanager"
            ),
        }
        show(f"Prometheus: http://127.0.0.1:{settings.prometheus_port}/alerts")
        show(f"Alertmanager: http://127.0.0.1:{settings.alertmanager_port}")
        show("Ctrl-C stops both.")
        _run(commands)
    except (MarinaError, OSError) as error:
        show(error, sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _run(commands: dict[str, list[str]]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this program, which ends both
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - called from the main thread only
            )
        while True:
            for name, process in running.items():
                if process.poll() is not None:
                    raise WatchError(f"{name} ended with status {process.returncode}: its words are above.")
            time.sleep(0.5)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            process.kill()
            process.wait()


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        package = PROGRAMS[program]
        raise WatchError(f"{program} is not installed: sudo apt-get install --no-install-recommends {package}")
    return found


if __name__ == "__main__":
    sys.exit(main())
