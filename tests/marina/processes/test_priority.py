import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from marina.processes import priority

THREADS = "import threading, time; [threading.Thread(target=time.sleep, args=(60,)).start() for _ in range(3)]; print()"


@pytest.fixture
def pid() -> Iterator[int]:
    """A process of four threads."""
    with subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def policies(pid: int) -> list[int]:
    return [os.sched_getscheduler(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()]


def test_every_thread_is_lowered(pid: int) -> None:
    priority.lower([pid])
    assert policies(pid) == [os.SCHED_IDLE] * 4
    priority.lower([pid])


def test_restored_is_what_can_be_and_the_rest_is_said(pid: int) -> None:
    priority.lower([pid])
    restored = priority.restore([pid])
    assert policies(pid) == [os.SCHED_OTHER if restored else os.SCHED_IDLE] * 4


def test_what_was_never_lowered_needs_no_restoring(pid: int) -> None:
    assert priority.restore([pid])


def test_processes_that_are_gone_are_left_out(pid: int) -> None:
    os.kill(pid, 9)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    priority.lower([pid, 2**22 + 1])
    assert priority.restore([pid, 2**22 + 1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without privileges")
def test_without_privileges_there_is_no_way_back() -> None:
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        priority.lower([os.getpid()])
        os._exit(priority.restore([os.getpid()]))
    assert os.waitpid(child, 0)[1] == 0
