"""What each of the server's processes uses, for Prometheus, by the part of the server that it is."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psutil
import sqlalchemy as sa

from marina.events.exposition import Row, write_family
from marina.serving.sidecars import LOOP, MODULES

PARTS = (
    *((name, rf"-m {re.escape(module)}( |$)") for name, module in MODULES.items()),
    ("worker", r"marina\.serving\.worker|model_service_worker"), ("torchserve", r"(^|/)java\b|org\.pytorch\.serve"),
    ("gateway", r"\bnginx\b"), (LOOP, r"scripts/loop\.py"),
    ("supervisor", r"scripts/serve\.py|scripts\.serve"),
)  # fmt: skip
"""What a process is, by its command line, the first that fits; any other is ``other``."""


@dataclass(frozen=True)
class Usage:
    """Of one process; `key` tells it from every other that had or will have its number."""

    key: tuple[int, float]
    command: str
    cpu_s: float
    resident_bytes: int
    open_files: int | None


class ProcessReader(Protocol):
    """Where processes are read from."""

    def read(self) -> Sequence[Usage]:
        """Return the server's processes as they are now."""


class ProcessTree:
    """The processes below one, and that one itself.

    Parameters
    ----------
    root
        Its number: the supervisor's.
    """

    def __init__(self, root: int) -> None:
        self._root = root

    def read(self) -> Sequence[Usage]:
        """Return them; one that ends meanwhile is left out."""
        try:
            root = psutil.Process(self._root)
            family = [root, *root.children(recursive=True)]
        except psutil.Error:
            return []
        return [found for one in family if (found := _read(one)) is not None]


class ProcessMetrics:
    """Adds the processes of each part up; processor time of those that ended stays counted.

    Parameters
    ----------
    reader
        Where they are read from.
    """

    def __init__(self, reader: ProcessReader) -> None:
        self._reader = reader
        self._last: dict[tuple[int, float], tuple[str, float]] = {}
        self._ended: Counter[str] = Counter()

    def collect(self, connection: sa.Connection, now: float) -> Iterable[list[str]]:
        """Write processor time, memory, open files and number of processes, by part."""
        del connection, now
        cpu: dict[str, float] = defaultdict(float)
        memory: Counter[str] = Counter()
        files: Counter[str] = Counter()
        count: Counter[str] = Counter()
        seen = {}
        for one in self._reader.read():
            part = name_part(one.command)
            known = self._last.get(one.key)
            seen[one.key] = (part, max(one.cpu_s, known[1] if known else 0.0))
            memory[part] += one.resident_bytes
            files[part] += one.open_files or 0
            count[part] += 1
        for key, (part, cpu_s) in self._last.items():
            if key not in seen:
                self._ended[part] += cpu_s  # type: ignore[assignment]
        self._last = seen
        for part, cpu_s in [*seen.values(), *self._ended.items()]:
            cpu[part] += cpu_s
        for name, kind, about, values in (
            ("marina_process_cpu_seconds_total", "counter", "Processor time, of ended processes too.", cpu),
            ("marina_process_resident_bytes", "gauge", "Memory in use; shared pages count for each.", memory),
            ("marina_process_open_files", "gauge", "Open files and sockets.", files),
            ("marina_processes", "gauge", "Processes.", count),
        ):
            rows: list[Row] = [({"part": part}, float(values[part])) for part in sorted(values)]
            yield write_family(name, kind, about, rows)


def name_part(command: str) -> str:
    """Return which part of the server a process is, of a closed set, from its command line."""
    return next((part for part, pattern in PARTS if re.search(pattern, command)), "other")


def _read(one: Any) -> Usage | None:
    try:
        with one.oneshot():
            times, command = one.cpu_times(), " ".join(one.cmdline())
            key = (one.pid, one.create_time())
            resident = one.memory_info().rss
        try:
            files = one.num_fds()
        except psutil.AccessDenied:
            files = None
        return Usage(key, command, times.user + times.system, resident, files)
    except psutil.Error:
        return None
