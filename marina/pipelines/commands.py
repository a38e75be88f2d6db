"""Runs one step of the loop as a command of its own: its exit status, and the JSON of its last line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marina.processes.children import end_with_parent

TIMED_OUT, STOPPED = -1, -2
"""Exit statuses of a command that took too long, and of one that was to end early."""

WAIT = 6
"""Exit status of a command that has to wait, such as for a rollout's end: no failure, and to be asked again."""

ANOTHER_ACTS = 3
"""Exit status of scripts/loop.py and scripts/run_step.py where another loop acts: that takes it."""

NEVER = 4
"""Exit status of scripts/run_step.py for a step that is not attempted again in its run."""

LOOK_S = 0.2
END_S = 5.0
TAIL = 2000
"""Characters that are kept of what it wrote."""


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes
    ----------
    exit
        Its status; `TIMED_OUT`, `STOPPED`.
    result
        The JSON object on the last line of its standard output; empty where there is none.
    tail
        The end of what it wrote.
    """

    exit: int
    result: Mapping[str, Any]
    tail: str


def run(
    command: Sequence[str], limit_s: float, may_continue: Callable[[], bool] = lambda: True, cwd: str | None = None
) -> Done:
    """Run a command with all it starts in a group of its own, which ends with it and with this process.

    Parameters
    ----------
    limit_s
        After so many seconds it is ended.
    may_continue
        Asked several times a second; it is ended once the answer is no.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, start_new_session=True,
            preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - the commands that call this have one thread
        )  # fmt: skip
        ends, status = time.monotonic() + limit_s, 0
        try:
            while process.poll() is None and not status:
                if time.monotonic() > ends:
                    status = TIMED_OUT
                elif not may_continue():
                    status = STOPPED
                else:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(LOOK_S)
        finally:
            _end(process)
        out.seek(0)
        err.seek(0)
        said, wrong = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    return Done(status or process.returncode, last_json(said), (said[-TAIL:] + wrong[-TAIL:]).strip())


def last_json(text: str) -> dict[str, Any]:
    """Return the JSON object on the last line of a text; an empty one where there is none."""
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _end(process: subprocess.Popen[bytes]) -> None:
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
            if signum == signal.SIGKILL:
                return
