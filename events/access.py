"""The gateway's lines, counted: requests, errors and latencies per version in windows of five seconds.

Counted are requests for which the gateway chose the version. An error is a status of 500 or more, or a full queue (429
that came from behind the gateway); a client that left (499) is a request, and no error. 503 is the gateway's own word
for a model server that is away: it is nobody's fault that is compared here, and not counted at all. The window is that
of the line's own time, however late it is read.
"""

import contextlib
import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson
import sqlalchemy as sa

from events.database import Database
from events.latencies import add, bucket, from_json, to_json
from events.names import LONGEST_VERSION, name
from events.tables import EVIDENCE

WINDOW_S = 5
AWAY = 503
END = 1e11  # the year 5138: a later time is none
MOST_KEYS = 500  # in one query: databases bound the number of parameters


@dataclass
class Window:
    """Counts of one version in one window; latencies by bucket."""

    requests: int = 0
    errors: int = 0
    latencies: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(frozen=True)
class Key:
    """A version's window, by its start in seconds since 1970."""

    model: str
    version: str
    start: int


@dataclass(frozen=True)
class AccessLog:
    """One file of gateway lines, opened.

    Attributes
    ----------
    key
        A hash of its first line, which tells it from every other under whatever name it stands.
    finished
        Whether it was rotated, and another one after it: the gateway has let go of it.
    """

    path: Path
    file: BinaryIO
    key: str
    finished: bool


@contextlib.contextmanager
def access_logs(folder: Path) -> Iterator[list[AccessLog]]:
    """Open the gateway's logs that hold at least one line, the oldest first."""
    with contextlib.ExitStack() as opened:
        # The current one first: rotated in between, it is met again under its new name, and not missed.
        current = _open([folder / "access.jsonl"], opened)
        rotated = _open(folder.glob("access.*.jsonl"), opened)
        rotated.sort(key=lambda log: os.fstat(log[1].fileno()).st_mtime_ns)
        logs = [AccessLog(path, file, key, log is not rotated[-1]) for log in rotated for path, file, key in [log]]
        logs += [AccessLog(*log, False) for log in current if log[2] not in {key for _, _, key in rotated}]
        yield logs


def _open(paths: Iterable[Path], opened: contextlib.ExitStack) -> list[tuple[Path, BinaryIO, str]]:
    found: list[tuple[Path, BinaryIO, str]] = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            file = opened.enter_context(path.open("rb"))
            if (first := file.readline()).endswith(b"\n"):
                found.append((path, file, hashlib.sha256(first).hexdigest()[:32]))
    return found


def read_windows(lines: Iterable[bytes]) -> tuple[dict[Key, Window], int]:
    """Count lines into windows.

    Returns
    -------
    windows
        By version and start.
    malformed
        How many lines are none of the gateway's.
    """
    windows: dict[Key, Window] = defaultdict(Window)
    malformed = 0
    for line in lines:
        try:
            said = orjson.loads(line.decode(errors="replace"))  # a client's path may be no UTF-8
            if str(said.get("picked")) != "1" or not said["version"] or not said["path"].startswith("/predictions/"):
                continue
            if said["status"] == AWAY:
                continue
            key = Key(name(said["model"]), name(said["version"], LONGEST_VERSION), _start(said["msec"]))
            status, slot = said["status"], bucket(said["seconds"] * 1e3)
            failed = status >= 500 or (status == 429 and bool(said["upstream"]))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            malformed += 1
            continue
        window = windows[key]
        window.requests += 1
        window.errors += failed
        window.latencies[slot] += 1
    return dict(windows), malformed


def _start(msec: float) -> int:
    if not 0 <= msec < END:
        raise ValueError("expected seconds since 1970")
    return math.floor(msec / WINDOW_S) * WINDOW_S


def add_windows(database: Database, connection: sa.Connection, replica: str, windows: Mapping[Key, Window]) -> None:
    """Add counts to those that one replica has in the database."""
    starts = sorted({key.start for key in windows})
    for at in range(0, len(starts), MOST_KEYS):
        some = set(starts[at : at + MOST_KEYS])
        wanted = (EVIDENCE.c.replica == replica) & EVIDENCE.c.start.in_(some)
        there = {
            Key(row.model, row.version, row.start): row for row in connection.execute(sa.select(EVIDENCE).where(wanted))
        }
        rows = []
        for key, window in windows.items():
            if key.start not in some:
                continue
            row = there.get(key)
            rows.append(
                {
                    "model": key.model,
                    "version": key.version,
                    "replica": replica,
                    "start": key.start,
                    "requests": window.requests + (row.requests if row else 0),
                    "errors": window.errors + (row.errors if row else 0),
                    "latencies": to_json(add(window.latencies, from_json(row.latencies) if row else {})),
                }
            )
        database.put(connection, EVIDENCE, rows)
