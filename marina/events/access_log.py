"""The gateway's lines, read, and counted: requests, errors and latencies per version in windows of five seconds.

Counted are requests for which the gateway chose the version, and which that answered or failed. An error is a status of
500 or more, a full queue (429, or 503 for what waited too long, that came from behind the gateway), or a failure in
whose place another version answered. A client that left (499) is none. Not counted at all, neither for a version nor
against it, is what tells nothing of one: what the gateway answered by itself, so that any number of such requests
dilutes nothing; what the client did wrong (4xx, or instances that were refused of an answer in part), unless another
version found it right; what found no room beside other large answers; and any other 503, the gateway's own word for a
model server that is unavailable. An answer in part is an error where an instance failed. Latency is what the
server took, attempt by attempt, without the client's upload and download. The window is that of the line's own time,
however late it is read.
"""

import contextlib
import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.names import LONGEST_VERSION, name
from marina.database.tables import EVIDENCE
from marina.events.latency_histogram import add, bucket, from_json, to_json

WINDOW_S = 5
AWAY = 503
LEFT = 499
BUSY = 429
NO_ANSWER = 504
DIED = ("500", "507")  # what TorchServe answers for the batch of a worker that died
UNREADABLE = "592"  # handlers/errors.py, `UnreadableError`
CROWDED = "crowded"  # handlers/errors.py, `CrowdedError`
END = 1e11  # the year 5138: a later time is none
MOST_KEYS = 500  # in one query: databases bound the number of parameters


@dataclass
class Window:
    """Counts of one version in one window; latencies by bucket. Retried: a worker died of it or beside it."""

    requests: int = 0
    errors: int = 0
    latencies: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    retried: int = 0


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


class Request(NamedTuple):
    """One request of which the gateway chose the version.

    Attributes
    ----------
    time
        When it was over, in seconds since 1970.
    failed
        Whether the version failed by its own fault.
    shared
        Whether it failed, and another version, asked the same in its place, did not answer it with success either.
    slot
        Bucket of the time that the server took (`marina.events.latency_histogram`); None where that is not known.
    answered
        Whether that is the time of an answer. Else it is how long there was none: until the client left, say.
    session
        What kept its client on one version; empty where the request was drawn for itself.
    retried
        Whether a worker that had it died, so that it was asked again.
    """

    model: str
    version: str
    time: float
    failed: bool
    shared: bool
    slot: int | None
    answered: bool
    session: str
    retried: bool = False


def read_requests(lines: Iterable[bytes]) -> tuple[list[Request], int]:
    """Read lines.

    Returns
    -------
    requests
        Those of them that count, in order.
    malformed
        How many lines are none of the gateway's.
    """
    requests: list[Request] = []
    malformed = 0
    for line in lines:
        try:
            said = orjson.loads(line.decode(errors="replace"))  # a client's path may be no UTF-8
            if str(said.get("picked")) != "1" or not said["version"] or not said["path"].startswith("/predictions/"):
                continue
            if _is_trial(said):
                requests.append(_request(said))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            malformed += 1
    return requests, malformed


def _is_trial(said: dict[str, Any]) -> bool:
    """Return whether a line tells how the version that was chosen fared."""
    status, upstream = said["status"], said["upstream"]
    refused = bool(said.get("refused"))  # some instances of a request that asked for the others
    if said.get("stood_in"):
        # What stable refuses too was the client's fault.
        return not ((status >= 400 or refused) and _was_refused(upstream))
    if status == AWAY:
        return _from_behind(upstream) and said.get("expired") != CROWDED
    if not upstream:
        return bool(status == NO_ANSWER)
    if refused and not said.get("failed"):
        return False
    return status in (LEFT, BUSY) or not 400 <= status < 500


def _was_refused(upstream: str) -> bool:
    """Return whether a version found fault with a request, or could not read it, and another one was asked."""
    statuses = _list(upstream)
    return len(statuses) > 1 and (statuses[-2].startswith("4") or statuses[-2] == UNREADABLE)


def _request(said: dict[str, Any]) -> Request:
    status, stood_in = said["status"], bool(said.get("stood_in"))
    in_part = bool(said.get("failed"))  # some instances of a request that asked for the others
    failed = stood_in or in_part or status >= 500 or (status == BUSY and bool(said["upstream"]))
    if not 0 <= said["msec"] < END:
        raise ValueError("expected seconds since 1970")
    took_s = None if stood_in else _took(said)  # two versions' times are in that
    return Request(
        name(said["model"]),
        name(said["version"], LONGEST_VERSION),
        said["msec"],
        failed,
        stood_in and (in_part or not status < 400),
        None if took_s is None else bucket(1e3 * took_s),
        not failed and status not in (LEFT, BUSY),
        str(said.get("session") or ""),
        any(one in DIED for one in _list(said["upstream"])),
    )


def _from_behind(upstream: str) -> bool:
    """Return whether a 503 is the model server's own: a worker came to the request when its time was over."""
    return upstream.endswith(str(AWAY))


def _list(text: str) -> list[str]:
    """Split nginx's list of what it has of each attempt ("0.003, 0.002 : 0.004", "-" for none)."""
    return text.replace(",", " ").replace(":", " ").split()


def _took(said: dict[str, Any]) -> float | None:
    """Return what the server took, in seconds, all attempts together."""
    served = said.get("served")
    if served is None:  # a line from before there was that field
        return float(said["seconds"])
    try:
        return float(served)
    except ValueError:
        times = [float(one) for one in _list(served) if one != "-"]
        return sum(times) if times else None


def windows_of(requests: Iterable[Request]) -> dict[Key, Window]:
    """Count requests into windows, by version and start; only answers have a latency there."""
    windows: dict[Key, Window] = defaultdict(Window)
    for one in requests:
        window = windows[Key(one.model, one.version, math.floor(one.time / WINDOW_S) * WINDOW_S)]
        window.requests += 1
        window.errors += one.failed
        window.retried += one.retried
        if one.answered and one.slot is not None:
            window.latencies[one.slot] += 1
    return dict(windows)


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
                    "retried": window.retried + (row.retried if row else 0),
                    "latencies": to_json(add(window.latencies, from_json(row.latencies) if row else {})),
                }
            )
        database.put(connection, EVIDENCE, rows)
