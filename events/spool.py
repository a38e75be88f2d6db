"""What workers left in the spool: their files, and the rows that come of their lines."""

import base64
import contextlib
import fcntl
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

ABANDONED_S = 60.0
"""An empty file without a lock that is as old as this was begun by a worker that died at once."""

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
        "request_id": _name(answer["request_id"], 128),
        "model": _name(answer["model"], 128),
        "version": _name(answer["version"], 64),
        "time": float(said["time"]),
    }
    instances = answer["predictions"] if said["many"] else [answer["predictions"]]
    shared = request | {"picked": bool(said["picked"]), "serving_ms": _number(answer.get("serving_ms"))}
    predictions = [shared | {"instance": at} | _prediction(one) for at, one in enumerate(instances)]
    sent = said.get("input")
    return predictions, [] if sent is None else [request | _input(sent)]


def _prediction(said: Any) -> Row:
    first = said[0] if isinstance(said, list) and said else said
    fields = first if isinstance(first, dict) else {}
    label = fields.get("label")
    confidence = _number(fields.get("probability"))
    return {
        "label": _text(label) if isinstance(label, str) else None,
        "confidence": _number(fields.get("confidence")) if confidence is None else confidence,
        "value": _number(said.get("value")) if isinstance(said, dict) else None,
        "answer": orjson.dumps(said).decode(),
    }


def _input(sent: dict[str, Any]) -> Row:
    body = orjson.dumps(sent["body"]) if "body" in sent else base64.b64decode(sent["base64"], validate=True)
    return {"content_type": _name(sent["content_type"], 64), "body": body}


def _name(value: Any, longest: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest or "\0" in value:
        raise ValueError(f"expected a name of up to {longest} characters")
    return value


def _text(label: str) -> str:
    return label.replace("\0", "")[:256]  # PostgreSQL's texts hold no NUL


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None
