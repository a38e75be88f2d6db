"""Workers that hang, found from outside whatever their handler does, and ended: their requests are then asked again.

A worker's main thread waits for TorchServe, or it has a batch. Of one that has a batch the kernel says whether it got
on: whether the thread ever waited again (it does so at the end of each batch at least), and whether the process used
the processor. One is ended

- when it is stopped (SIGSTOP), at two looks in a row;
- when it has slept since it took its batch, without using the processor, for `quiet_s`: nothing will wake it. A handler
  that sleeps or waits for so long on purpose needs a longer time limit;
- when it has computed on the same batch for `busy_s`: no client waits for that answer any more.

What waits for the disk, or for a processor, is given `busy_s` too. A handler that hangs in small naps is left to
TorchServe's ``responseTimeout``. Where the kernel does not show what a thread waits for, only those are known to have
a batch behind which requests queue.
"""

import os
import platform
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

RECEIVE = {"x86_64": "45", "aarch64": "207"}.get(platform.machine(), "")
"""The number of recvfrom(2): a worker waits for the one byte that begins a message, and never does so in a batch."""

PROC = Path("/proc")


@dataclass(frozen=True)
class Look:
    """What the kernel says of a worker.

    Attributes
    ----------
    state
        R, S, D, T and so on, of its main thread.
    waits
        Whether that waits for TorchServe; None where it cannot be seen.
    turns
        How often that has begun to wait for anything.
    used
        Processor time of the whole process, in clock ticks.
    """

    state: str
    waits: bool | None
    turns: int
    used: int


def look(pid: int, java: int) -> Look | None:
    """Look at a worker; None if it is gone, or another process than a child of `java` has its number."""
    folder = PROC / str(pid)
    try:
        stat = (folder / "stat").read_text().rpartition(")")[2].split()
        turns = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", (folder / "status").read_text(), re.M)
    except OSError:
        return None
    if int(stat[1]) != java or turns is None:
        return None
    try:
        called = (folder / "syscall").read_text().split()
    except OSError:
        called = []
    waits = called[0] == RECEIVE and called[3:4] == ["0x1"] if called and RECEIVE else None
    return Look(stat[0], waits, int(turns[1]), int(stat[11]) + int(stat[12]))


@dataclass
class _Seen:
    """What is remembered of a worker: its last look, and since when it stands as it does."""

    last: Look
    since: float
    quiet_since: float


class Hung:
    """Remembers each worker from look to look."""

    def __init__(self, quiet_s: float, busy_s: float) -> None:
        self._quiet_s = quiet_s
        self._busy_s = busy_s
        self._seen: dict[int, _Seen] = {}

    def judge(self, pid: int, now: Look, time_s: float) -> str:
        """Take one more look into account.

        Parameters
        ----------
        time_s
            When that was, on a clock that does not jump.

        Returns
        -------
        str
            Why the worker is to be ended; empty where it is not.
        """
        before = self._seen.get(pid)
        if before is None:
            self._seen[pid] = _Seen(now, time_s, time_s)
            return ""
        if now.state == "T":
            stopped, before.last = before.last.state == "T", now
            return "it is stopped" if stopped else ""
        moved = now.waits is not False or now.turns != before.last.turns
        if moved:
            before.since = time_s
        if moved or now.state != "S" or now.used != before.last.used:
            before.quiet_since = time_s
        before.last = now
        if (quiet := time_s - before.quiet_since) >= self._quiet_s:
            return f"it has done nothing for {quiet:.0f} s on a batch that it has"
        if (busy := time_s - before.since) >= self._busy_s:
            return f"it has been at one batch for {busy:.0f} s"
        return ""

    def keep(self, pids: Collection[int]) -> None:
        """Forget all other workers."""
        self._seen = {pid: seen for pid, seen in self._seen.items() if pid in pids}

    def find(self, pids: Iterable[int], java: int, queued: bool, time_s: float) -> list[tuple[int, str]]:
        """Look at the workers of one version; return those that are to be ended, and why.

        Parameters
        ----------
        pids
            Its workers that have loaded.
        java
            Whose children they are.
        queued
            Whether requests wait: then each of the workers has a batch, whether or not that can be seen.
        time_s
            Now, on a clock that does not jump.
        """
        found = []
        for pid in pids:
            seen = look(pid, java)
            if seen is not None and seen.waits is None and queued:
                seen = replace(seen, waits=False)
            if seen is not None and (why := self.judge(pid, seen, time_s)):
                found.append((pid, why))
        return found


def end(pid: int) -> None:
    """End a worker; TorchServe starts a new one."""
    try:
        os.kill(pid, 9)
    except OSError:
        return
