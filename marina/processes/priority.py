"""Processor priority: workers that answer no client wait for those that do.

``SCHED_IDLE`` lets a thread run only where no other one wants the core (``man 7 sched``). Without privileges the way
back is refused by the kernel, so a worker that is to answer users after all has to be replaced: `restore` says so.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def lower(pids: Iterable[int]) -> None:
    """Let these processes, with all of their threads, run only when nothing else wants to; those gone are left out."""
    for thread in _threads(pids):
        with contextlib.suppress(ProcessLookupError):
            if os.sched_getscheduler(thread) != os.SCHED_IDLE:
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def restore(pids: Iterable[int]) -> bool:
    """Undo `lower`; return whether all of them run as others do. If not, only new processes will."""
    try:
        for thread in _threads(pids):
            with contextlib.suppress(ProcessLookupError):
                if os.sched_getscheduler(thread) == os.SCHED_IDLE:
                    os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
    except PermissionError:
        return False
    return True


def _threads(pids: Iterable[int]) -> Iterable[int]:
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield from [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
