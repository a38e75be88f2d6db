"""What workers left in the spool: their files, and the rows that come of their lines."""

import base64
import contextlib
import fcntl
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from marina.database.names import LONGEST_VERSION, name
from marina.events.client_tallies import client_of
from marina.events.predictions import number, read_prediction

ABANDONED_S = 60.0
"""An empty file without a lock that is as old as this was begun by a worker that died at once."""

LONGEST_TYPE = 64
"""Characters of a content type, as the table has room for."""

FILE_BYTES = 4 * 1024 * 1024
"""About as large a file becomes (handlers/spool.py)."""

NUMBERS = frozenset({int, float, type(None)})
"""What a summary is made of."""

Row = tuple[Any, ...]
"""In the order of the table's columns."""


@dataclass
class Entries:
    """What a number of lines say."""

    predictions: list[Row] = field(default_factory=list)
    inputs: list[Row] = field(default_factory=list)
    warnings: Counter[tuple[str, str]] = field(default_factory=Counter)  # by model and version
    dropped: int = 0
    malformed: int = 0


@dataclass(frozen=True)
class SpoolFile:
    """One worker's file, opened; `finished` when no worker will write to it again."""

    path: Path
    file: BinaryIO
    finished: bool

    @property
    def key(self) -> str:
        """What tells it from every other file of this server: the worker's pid and when it began the file."""
        return "-".join(self.path.stem.rsplit("-", 2)[1:])


@contextlib.contextmanager
def spool_files(folder: Path) -> Iterator[list[SpoolFile]]:
    """Open the files that hold something, oldest first; those that are finished stay locked until the block ends."""
    with contextlib.ExitStack() as opened:
        found = []
        for path in sorted(folder.glob("*-*.jsonl"), key=lambda path: path.stem.rpartition("-")[2]):
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                # A worker locks its file before it writes to it: one that is empty may not be locked yet.
                if state.st_size or time.time() - state.st_mtime > ABANDONED_S:
                    file = opened.enter_context(path.open("rb"))
                    found.append(SpoolFile(path, file, _lock(file)))
        yield found


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_entries(lines: Iterable[bytes]) -> Entries:
    """Turn lines into rows; those that are no such lines are counted."""
    entries = Entries()
    for line in lines:
        try:
            said = orjson.loads(line)
            if "dropped" in said:
                entries.dropped += int(said["dropped"])
                continue
            predictions, inputs = _rows(said)
            warned = len(said["answer"].get("warnings", ()))
        except (ValueError, TypeError, KeyError, AttributeError):
            entries.malformed += 1
            continue
        entries.predictions += predictions
        entries.inputs += inputs
        if warned and predictions:
            entries.warnings[predictions[0][1:3]] += warned
    return entries


def _rows(said: dict[str, Any]) -> tuple[list[Row], list[Row]]:
    answer = said["answer"]
    request = name(answer["request_id"]), name(answer["model"]), name(answer["version"], LONGEST_VERSION)
    at, routed, took_ms = _time(said["time"]), bool(said["picked"]), number(answer.get("serving_ms"))
    instances = answer["predictions"] if said["many"] else [answer["predictions"]]
    client = _client(said.get("client"), request[0] if len(instances) > 1 else None)
    summaries = _summaries(said.get("summary"), len(instances))
    predictions: list[Row] = [
        (*request, place, at, routed, *read_prediction(one), took_ms, orjson.dumps(one).decode(), client, summary)
        for place, (one, summary) in enumerate(zip(instances, summaries, strict=True))
        if not (said["many"] and one is None)  # of an answer in part: this one was refused, or failed
    ]
    sent = said.get("input")
    return predictions, [] if sent is None else [(*request, at, *_input(sent))]


def _client(said: Any, request_id: str | None) -> int | None:
    """Return whose an answer is; instances that came in one request without a session are one client's."""
    if said is None:
        return None if request_id is None else client_of(request_id)
    if isinstance(said, bool) or not isinstance(said, int) or not -(2**63) <= said < 2**63:
        raise ValueError("expected a hash of 64 bits")
    return said


def _summaries(said: Any, instances: int) -> list[str | None]:
    """Return what is said of each instance as JSON; None of one of which nothing is."""
    if said is None:
        return [None] * instances
    if len(said) != instances or not all(type(row) is list and {*map(type, row)} <= NUMBERS for row in said):
        raise ValueError("expected numbers of each instance")
    return [orjson.dumps(row).decode() if any(one is not None for one in row) else None for row in said]


def _input(sent: dict[str, Any]) -> tuple[str, bytes]:
    body = orjson.dumps(sent["body"]) if "body" in sent else base64.b64decode(sent["base64"], validate=True)
    return name(sent["content_type"], LONGEST_TYPE), body


def _time(said: Any) -> float:
    if (time := number(said)) is None:
        raise ValueError("expected seconds since 1970")
    return time
