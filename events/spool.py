"""What workers left in the spool: their files, and the rows that come of their lines."""

import base64
import contextlib
import fcntl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from events.names import LONGEST_VERSION, name
from events.predictions import number, read_prediction

ABANDONED_S = 60.0
"""An empty file without a lock that is as old as this was begun by a worker that died at once."""

LONGEST_TYPE = 64
"""Characters of a content type, as the table has room for."""

Row = dict[str, Any]


@dataclass
class Entries:
    """What a number of lines say."""

    predictions: list[Row] = field(default_factory=list)
    inputs: list[Row] = field(default_factory=list)
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
        except (ValueError, TypeError, KeyError, AttributeError):
            entries.malformed += 1
            continue
        entries.predictions += predictions
        entries.inputs += inputs
    return entries


def _rows(said: dict[str, Any]) -> tuple[list[Row], list[Row]]:
    answer = said["answer"]
    request = {
        "request_id": name(answer["request_id"]),
        "model": name(answer["model"]),
        "version": name(answer["version"], LONGEST_VERSION),
        "time": _time(said["time"]),
    }
    instances = answer["predictions"] if said["many"] else [answer["predictions"]]
    shared = request | {"picked": bool(said["picked"]), "serving_ms": number(answer.get("serving_ms"))}
    predictions = [shared | {"instance": at} | _prediction(one) for at, one in enumerate(instances)]
    sent = said.get("input")
    return predictions, [] if sent is None else [request | _input(sent)]


def _prediction(said: Any) -> Row:
    return read_prediction(said)._asdict() | {"answer": orjson.dumps(said).decode()}


def _input(sent: dict[str, Any]) -> Row:
    body = orjson.dumps(sent["body"]) if "body" in sent else base64.b64decode(sent["base64"], validate=True)
    return {"content_type": name(sent["content_type"], LONGEST_TYPE), "body": body}


def _time(said: Any) -> float:
    if (time := number(said)) is None:
        raise ValueError("expected seconds since 1970")
    return time
