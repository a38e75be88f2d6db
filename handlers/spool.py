"""What a worker answered, kept for the prediction log: a file of JSON lines per worker, written before answers leave.

A line is there as soon as one `os.write` returned, so an answer that a client has seen is in the log even when the
worker is killed in the next instant. Nothing waits: what cannot be written is dropped and counted, and the count is
written when there is room again. One line::

    {"time":1700000000.123,"picked":true,"client":-42,"many":false,"answer":{…},"summary":[[1.0,null]],"input":{"content_type":"application/json","body":{…}}}

``client`` is a hash of the session (else user) key by which the gateway drew the version, null without one; ``answer``
is the body as it was sent; ``many`` says whether its predictions are a list of instances; ``summary`` has for each
instance the numbers that the contract's ``summary`` names, null for what it does not have, and is not there where
nothing is said; ``input`` is there for the sampled share only. A worker holds a lock (`fcntl.flock`) on the file it
writes, so that anyone who reads the folder knows a file that is done: one without a lock. The next file is made by a
thread before the last one is full: to look through the folder, and to make a file, may take long on a busy disk.
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from handlers.decoding import JSON, NPY, Body, media_type
from handlers.summary import write_summary

FILE_BYTES = 4 * 1024 * 1024
"""A file that has grown to this is left to the collector, and another begun."""

LIMIT_BYTES = 256 * 1024 * 1024

AHEAD = 0.75
"""The next file is made when the last one is so full."""

LOOK_S = 1.0
"""How often a worker looks at the folder's size while that is over the limit, and at the shares of inputs."""

LONGEST_KEY = 256
"""Characters of a session's key that tell it from others."""

INPUT_SHARES = "input_share.json"

SHADOW_PER_S, SHADOW_AT_ONCE = 25.0, 500.0
"""Inputs that a worker keeps for a shadow: a second, and at once after a quiet time. More are not replayed
(marina/rollout/shadow/replay_client.py)."""


class Answered(NamedTuple):
    """One request that was answered with 200."""

    request_id: str
    headers: Mapping[str, str]
    body: Body  # empty where the input is not to be kept
    many: bool
    answer: bytes
    summary: NDArray[np.float32] | None = None  # (instances, names)


@dataclass(frozen=True)
class Sampling:
    """Which answers are kept, and of which the inputs.

    Attributes
    ----------
    share
        Share of the requests that is kept, by a hash of their ids: every worker chooses alike.
    input_share
        Share of those whose input is kept too. What a declaration asks for beyond it is bounded by `SHADOW_PER_S`.
    input_limit_bytes
        Larger inputs are never kept.
    redact
        Fields that are taken out of JSON inputs, at the top and in each of ``instances``. Arrays (.npy) have no
        names to go by, so none is kept when there is anything to redact.
    """

    share: float = 1.0
    input_share: float = 0.0
    input_limit_bytes: int = 262_144
    redact: frozenset[str] = frozenset()


class Spool:
    """The files of one worker.

    Parameters
    ----------
    folder
        Where every worker of this server writes; made when it is not there.
    model, version
        What the worker serves.
    limit_bytes
        How much may lie in the folder, all workers together. It is looked at when a file is made, so it may be
        exceeded by two files per worker.
    """

    def __init__(self, folder: Path, model: str, version: str, sampling: Sampling, limit_bytes: int) -> None:
        self._folder = folder
        self._model = model
        self._version = version
        self._sampling = sampling
        self._limit_bytes = limit_bytes
        self._file_bytes = min(FILE_BYTES, limit_bytes // 4)
        self._file = self._next = -1
        self._making: threading.Thread | None = None
        self._size = 0
        self._dropped = 0
        self._closed_until = 0.0
        self._input_share = sampling.input_share
        self._look_at = 0.0
        self._shares_seen = (0, 0)
        self._shadow_room = SHADOW_AT_ONCE
        self._shadow_looked = time.monotonic()

    @staticmethod
    def from_environment(model: str, version: str) -> "Spool | None":
        """Make the spool that the supervisor asks for; None when it asks for none."""
        given, default = os.environ, Sampling()
        if not given.get("MARINA_SPOOL"):
            return None
        sampling = Sampling(
            share=float(given.get("MARINA_LOG_SHARE") or default.share),
            input_share=float(given.get("MARINA_LOG_INPUT_SHARE") or default.input_share),
            input_limit_bytes=int(given.get("MARINA_LOG_INPUT_LIMIT_BYTES") or default.input_limit_bytes),
            redact=frozenset(json.loads(given.get("MARINA_LOG_REDACT") or "[]")),
        )
        limit_bytes = int(given.get("MARINA_SPOOL_LIMIT_BYTES") or LIMIT_BYTES)
        return Spool(Path(given["MARINA_SPOOL"]), model, version, sampling, limit_bytes)

    def keep(self, answered: Sequence[Answered]) -> None:
        """Write the lines of a batch at once; never waits, and never fails a request."""
        now = time.time()
        self._look_at_shares()
        lines = [self._line(one, now) for one in answered if self._chosen(one)]
        if not lines:
            return
        if self._file < 0 and not self._begin(now):
            self._dropped += len(lines)
            return
        data, written = b"".join(lines), 0
        with contextlib.suppress(OSError):
            written = os.write(self._file, data)
        self._size += written
        if written < len(data):  # the disk is full; the collector passes over half a line at the end of a file
            self._dropped += len(lines) - data.count(b"\n", 0, written)
            self._refuse()
        elif self._size >= AHEAD * self._file_bytes:
            self._turn_over()

    def _chosen(self, one: Answered) -> bool:
        if one.headers.get("x-shadow") == "1":
            return False
        return self._sampling.share >= 1 or _chance(one.request_id) < self._sampling.share

    def _line(self, one: Answered, now: float) -> bytes:
        routed = b"true" if one.headers.get("x-picked") == "1" else b"false"
        many = b"true" if one.many else b"false"
        key = one.headers.get("x-session-id") or one.headers.get("x-user-id")
        client = b"%d" % _client(key) if key else b"null"
        line = b'{"time":%.3f,"picked":%b,"client":%b,"many":%b,"answer":%b' % (now, routed, client, many, one.answer)
        if one.summary is not None:
            line = b'%b,"summary":%b' % (line, write_summary(one.summary))
        if self._input_share and (body := self._input(one)):
            return b'%b,"input":%b}\n' % (line, body)
        return line + b"}\n"

    def _input(self, one: Answered) -> bytes | None:
        if not one.body:  # it has options of its client, and is not to be kept
            return None
        # Nested in the share of answers: of the requests that are kept, the asked share has its input.
        chance = _chance(one.request_id) / self._sampling.share
        if chance >= self._input_share or len(one.body) > self._sampling.input_limit_bytes:
            return None
        json_sent = media_type(one.headers.get("content-type", "")) == JSON
        if self._sampling.redact and not json_sent:
            return None
        if chance >= self._sampling.input_share and not self._for_a_shadow():
            return None
        if json_sent:
            return b'{"content_type":"%b","body":%b}' % (JSON.encode(), self._redact(bytes(one.body)))
        return b'{"content_type":"%b","base64":"%b"}' % (NPY.encode(), base64.b64encode(one.body))

    def _for_a_shadow(self) -> bool:
        """Whether one more input may be kept for a shadow (a token bucket)."""
        now = time.monotonic()
        room = min(SHADOW_AT_ONCE, self._shadow_room + SHADOW_PER_S * (now - self._shadow_looked))
        self._shadow_looked, self._shadow_room = now, room - (room >= 1)
        return room >= 1

    def _redact(self, body: bytes) -> bytes:
        """Return a JSON body on one line, without what is to be left out."""
        if not self._sampling.redact:
            return body.replace(b"\n", b" ").replace(b"\r", b" ")  # in JSON they stand between values only
        fields = self._without(orjson.loads(body))
        if isinstance(fields.get("instances"), list):
            fields["instances"] = [self._without(instance) for instance in fields["instances"]]
        return orjson.dumps(fields)

    def _without(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name not in self._sampling.redact}

    def _look_at_shares(self) -> None:
        """Follow the share of inputs that the server's declarations ask for, at most once a second."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        path = self._folder / INPUT_SHARES
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):  # absent or unreadable: as before
            state = path.stat()
            if (seen := (state.st_mtime_ns, state.st_ino)) != self._shares_seen:
                declared = float(orjson.loads(path.read_bytes()).get(self._model, 0))
                self._input_share = max(self._sampling.input_share, declared)
                self._shares_seen = seen

    def _begin(self, now: float) -> bool:
        """Begin a file, unless the folder is full or was a moment ago."""
        if time.monotonic() < self._closed_until:
            return False
        if self._next < 0:
            self._make()
        self._file, self._next = self._next, -1
        notice = b'{"dropped":%d,"time":%.3f}\n' % (self._dropped, now) if self._dropped else b""
        with contextlib.suppress(OSError):
            if self._file >= 0 and (written := os.write(self._file, notice)) == len(notice):
                self._dropped, self._size = 0, written
                return True
        self._refuse()
        return False

    def _turn_over(self) -> None:
        """Have the next file made, and leave this one to the collector when it is full and the next one there."""
        if self._making is None:
            self._making = threading.Thread(target=self._make, daemon=True)
            try:
                self._making.start()
            except RuntimeError:  # this machine gives no thread just now
                self._make()
        elif self._size >= self._file_bytes and not self._making.is_alive():
            self._making = None
            self._end()

    def _make(self) -> None:
        """Make the next file if there is room for it."""
        made = -1
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.scandir(self._folder) as entries:
                used = sum(map(_size, entries))
            if used < self._limit_bytes:
                name = f"{self._model}-{self._version}-{os.getpid()}-{time.time_ns()}.jsonl"
                made = os.open(self._folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
                fcntl.flock(made, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._next = made

    def _refuse(self) -> None:
        """Try again in a while."""
        self._end()
        self._closed_until = time.monotonic() + LOOK_S

    def _end(self) -> None:
        """Leave the file to the collector."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # the collector removed it a moment ago
        return 0


def _client(key: str) -> int:
    """Return what stands for a session: 64 bits of a hash of its key, as `client_tallies.client_of` does."""
    digest = hashlib.blake2b(key[:LONGEST_KEY].encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _chance(request_id: str) -> float:
    """Return a number in [0, 1) that depends on the request's id alone."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=6).digest(), "big") / 2**48
