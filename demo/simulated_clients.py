"""Simulated clients: they send requests at a rate, stay with their session, and tell the truth later.

Each request comes from one of a number of sessions, at random moments (a Poisson process), whether or not earlier ones
were answered. Labels follow after a random delay, through ``/feedback`` as any user's would. Whatever is not answered
with 200 is written down. Nothing is tried again but labels, so no failure can hide.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT_S = 30.0
LATE_S = 0.1
LABELS_AT_ONCE = 500
LABELS_EVERY_S = 0.25

NO_ANSWER = (OSError, EOFError, TimeoutError, ValueError)
"""What is raised where a server refuses, hangs up, is silent, or does not speak HTTP."""

Label = tuple[str, int, str]
"""Request id, instance, true label."""


@dataclass(frozen=True)
class Question:
    """What a client asks, and what is true.

    Attributes
    ----------
    body
        Of the request, JSON.
    labels
        True label of each instance, in order.
    """

    body: bytes
    labels: Sequence[str]


@dataclass(frozen=True)
class Seen:
    """One request as its client saw it.

    Attributes
    ----------
    sent
        When, seconds since 1970.
    session
        Whose; empty where they say nothing of themselves.
    version
        Who answered; empty where no one did.
    status
        HTTP status; 0 where there was no answer.
    ms
        From sending to the last byte.
    why
        What came instead of an answer; empty with 200.
    """

    sent: float
    session: str
    version: str
    status: int
    ms: float
    why: str = ""


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Clients:
    """Clients of one model, in a thread of their own from `start` to `stop`.

    Attributes
    ----------
    url
        Of the gateway.
    model
        What they ask.
    questions
        What they ask about, one after the other.
    per_s
        Requests per second, on average.
    sessions
        How many clients there are; 0: each request is of one that says nothing of itself.
    label_delay_s
        Labels come after a delay between these, in seconds.
    seed
        Of all chance.
    seen
        Every request that is over, in the order in which they ended.
    labels
        How many labels were taken, by outcome.
    label_faults
        What came instead where labels were not taken; they are sent again.
    """

    url: str
    model: str
    questions: Sequence[Question]
    per_s: float
    sessions: int = 400
    label_delay_s: tuple[float, float] = (1.0, 5.0)
    seed: int = 0
    seen: list[Seen] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    label_faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="clients", daemon=True)
        self._all_asked = False
        self._later: list[tuple[float, Label]] = []  # a heap, by when they are reported
        place = urlsplit(self.url)
        self._host, self._port = place.hostname or "127.0.0.1", place.port or 80
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; wait for the answers that are due, and tell the labels that are left at once."""
        self._stop.set()
        self._thread.join()

    def failures(self, since: float = 0.0) -> list[Seen]:
        """Return every request since a time that was not answered with 200."""
        return [one for one in list(self.seen) if one.sent >= since and one.status != 200]

    async def _run(self) -> None:
        asking: set[asyncio.Task[None]] = set()
        reporting = asyncio.create_task(self._report_labels())
        number, at = 0, time.monotonic()
        while not self._stop.is_set():
            # Who would have come while this process itself stood still does not come all at once afterwards.
            at = max(at + self._chance.expovariate(self.per_s), time.monotonic() - LATE_S)
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            task = asyncio.create_task(self._ask(number))
            asking.add(task)
            task.add_done_callback(asking.discard)
            number += 1
        await asyncio.gather(*asking)
        self._all_asked = True
        await reporting
        for _, writer in self._free:
            writer.close()

    async def _ask(self, number: int) -> None:
        question = self.questions[number % len(self.questions)]
        session = f"session-{self._chance.randrange(self.sessions)}" if self.sessions else ""
        sent, start = time.time(), time.perf_counter()
        try:
            answer = await self._exchange(
                f"/predictions/{self.model}", question.body, {"X-Session-Id": session} if session else {}
            )
        except NO_ANSWER as error:
            self.seen.append(Seen(sent, session, "", 0, 1e3 * (time.perf_counter() - start), repr(error)))
            return
        ms = 1e3 * (time.perf_counter() - start)
        why = "" if answer.status == 200 else answer.body.decode(errors="replace").strip()
        self.seen.append(Seen(sent, session, answer.headers.get("x-model-version", ""), answer.status, ms, why))
        if answer.status == 200:
            request_id = answer.headers.get("x-request-id", "")
            reported_at = time.monotonic() + self._chance.uniform(*self.label_delay_s)
            for instance, label in enumerate(question.labels):
                heapq.heappush(self._later, (reported_at, (request_id, instance, label)))

    async def _report_labels(self) -> None:
        """Send labels as they fall due, and all that are left when the clients stop."""
        while not self._all_asked or self._later:
            await asyncio.sleep(LABELS_EVERY_S)
            while some := self._due():
                if await self._post_labels([label for _, label in some]):
                    continue
                for one in some:
                    heapq.heappush(self._later, one)
                if self._stop.is_set():
                    return
                break

    def _due(self) -> list[tuple[float, Label]]:
        until = math.inf if self._stop.is_set() else time.monotonic()
        some: list[tuple[float, Label]] = []
        while self._later and self._later[0][0] <= until and len(some) < LABELS_AT_ONCE:
            some.append(heapq.heappop(self._later))
        return some

    async def _post_labels(self, labels: Sequence[Label]) -> bool:
        """Send labels; return whether they were taken."""
        body = [
            {"request_id": request_id, "instance": instance, "label": label} for request_id, instance, label in labels
        ]
        try:
            answer = await self._exchange("/feedback", json.dumps({"labels": body}).encode(), {})
        except NO_ANSWER as error:
            self.label_faults.append(repr(error))
            return False
        if answer.status != 200:
            self.label_faults.append(answer.body.decode(errors="replace").strip())
            return False
        self.labels.update(json.loads(answer.body)["counts"])
        return True

    async def _exchange(self, path: str, body: bytes, headers: dict[str, str]) -> _Answer:
        """Send one request on a connection that no other uses, and read its answer."""
        while self._free and self._free[-1][0].at_eof():  # the server closed it while no one used it
            self._free.pop()[1].close()
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection(self._host, self._port)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                answer = await _read(reader)
        except BaseException:
            writer.close()
            raise
        if answer.headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._free.append((reader, writer))
        return answer


async def _read(reader: asyncio.StreamReader) -> _Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    if "content-length" not in headers:
        raise ValueError(f"an answer without a length: {head[0]}")
    return _Answer(int(head[0].split(" ")[1]), headers, await reader.readexactly(int(headers["content-length"])))
