"""Run the loop on Dagster: schedules, retries, and pages that show each week's load, training and decision.

    python scripts/orchestrator.py start        # in the background; the pages are on http://127.0.0.1:3000
    python scripts/orchestrator.py status       # what runs, and whether the pages answer
    python scripts/orchestrator.py logs         # the last lines of each log
    python scripts/orchestrator.py stop         # a run that is cut off is resumed by the next start
    python scripts/orchestrator.py run          # in the foreground, until Ctrl-C: for containers and services

A code server, a web server and a daemon, each started again when it ends. Dagster's own records are in the state
folder, or in PostgreSQL beside Marina's tables where MARINA_DATABASE_URL names one. It is optional: scripts/loop.py
runs the same steps without it. Exit status of `status`: 0 it runs, 3 it does not.
"""

import argparse
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from archives.errors import MarinaError
from marina.database.half_restored import check_restored
from marina.pipelines.orchestrator import Orchestrator, OrchestratorError, end_leftovers, supervisor
from marina.pipelines.orchestrator_home import folder
from marina.processes.console import log, show
from marina.settings import ROOT, Settings, read_settings

START_S, STOP_S = 180.0, 60.0
LINES = 20
DOES_NOT_RUN = 3


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="orchestrator.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=("start", "run", "stop", "status", "logs"))
    options = parser.parse_args(argv)
    settings = read_settings()
    modes = {"start": _start, "run": _run, "stop": _stop, "status": _status, "logs": _logs}
    try:
        return modes[options.mode](settings)
    except (MarinaError, OSError) as error:
        show(error, sys.stderr)
        return 1


def _run(settings: Settings) -> int:
    check_restored(settings)
    if importlib.util.find_spec("dagster") is None:
        install = "pip install --require-hashes -c constraints.txt --group orchestrator"
        raise OrchestratorError(f"Dagster is not installed: {install}; scripts/loop.py daemon needs none of it")
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    Orchestrator(settings, lambda line: log(f"orchestrator: {line}"), stop).run()
    return 0


def _start(settings: Settings) -> int:
    if (pid := supervisor(settings)) is not None:
        show(f"it runs already (process {pid}): {_address(settings)}")
        return 0
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    path = settings.log_dir / "orchestrator.log"
    with path.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, __file__, "run"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    ends = time.monotonic() + START_S
    while not _answers(settings):
        if process.poll() is not None or time.monotonic() > ends:
            show(path.read_text(errors="replace")[-2000:], sys.stderr)
            raise OrchestratorError(f"It did not start; its log is {path}")
        time.sleep(0.5)
    show(f"it runs (process {process.pid}): {_address(settings)}")
    return 0


def _stop(settings: Settings) -> int:
    pid = supervisor(settings)
    if pid is None:
        end_leftovers(folder(settings))
        show("it does not run")
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    ends = time.monotonic() + STOP_S
    while supervisor(settings) is not None and time.monotonic() < ends:
        time.sleep(0.2)
    if supervisor(settings) is not None:
        os.kill(pid, signal.SIGKILL)
    end_leftovers(folder(settings))
    show("it is stopped")
    return 0


def _status(settings: Settings) -> int:
    pid = supervisor(settings)
    if pid is None:
        show("it does not run: python scripts/orchestrator.py start")
        return DOES_NOT_RUN
    answers = _answers(settings)
    show(f"it runs (process {pid}): {_address(settings)} {'answers' if answers else 'does not answer yet'}")
    return 0 if answers else DOES_NOT_RUN


def _logs(settings: Settings) -> int:
    for path in sorted(settings.log_dir.glob("orchestrator*.log")):
        show(f"== {path}")
        for line in path.read_text(errors="replace").splitlines()[-LINES:]:
            show(line)
    return 0


def _address(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.orchestrator_port}"


def _answers(settings: Settings) -> bool:
    try:
        with urllib.request.urlopen(f"{_address(settings)}/server_info", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(main())
