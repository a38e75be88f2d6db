"""One person's stream: the ring of its frames, where its state machine is, what was answered; and all there are.

A session outlives its connection by a while, so that a page that lost it continues where it was. It shares nothing with
another session but the place in the list.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from archives.errors import MarinaError
from marina.products.live.frames import Frame, Ring
from marina.products.live.motion import Look, look_at, observe
from marina.products.live.outbox import Outbox
from marina.products.live.phases import Event, Machine, Rules, advance, answered

KEPT_ANSWERS: Final = 16
"""How many answers of a session are kept for one that lost its connection."""


class FullError(MarinaError):
    """There are as many sessions as there may be."""


class Session:
    """One person's stream.

    Attributes
    ----------
    id
        By which it is resumed; no one else can guess it.
    group
        What the gateway is told, so that one version answers all of it; the id cannot be found from it.
    machine
        Where it is.
    outbox
        What goes to the page that is connected; None while none is.
    embeds
        Whether answers bring the embedding, to be kept as a take.
    calibration
        The person's takes: ``calibration_of`` and ``prototypes``, as `read_takes` returns them; empty without.
    left
        When its connection was lost; None while there is one.
    """

    def __init__(self, rules: Rules | None = None) -> None:
        self.id = secrets.token_urlsafe(16)
        self.group = hashlib.sha256(self.id.encode()).hexdigest()[:16]
        self.machine = Machine()
        self.outbox: Outbox | None = None
        self.embeds = False
        self.calibration: Mapping[str, Any] = {}
        self.left: float | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self._rules = rules or Rules()
        self._ring = Ring()
        self._history: tuple[Look, ...] = ()
        self._at = float("-inf")
        self._answers: deque[dict[str, Any]] = deque(maxlen=KEPT_ANSWERS)
        self._count = 0

    @property
    def received(self) -> int:
        """The number of the newest frame; -1 before the first."""
        return self._ring.received

    def take(self, frame: Frame) -> Event | None:
        """Take one frame; one that was there before changes nothing.

        Returns
        -------
        Event or None
            What it brought about.
        """
        frame = frame._replace(at=max(frame.at, self._at))  # a clock that was set back stands still
        if not self._ring.add(frame):
            return None
        self._at = frame.at
        self._history, motion = observe(self._history, look_at(frame.at, frame.landmarks))
        self.machine, event = advance(self.machine, motion, self._rules)
        return event

    def recorded(self) -> npt.NDArray[np.float32]:
        """Return what has been recorded of the present sign, float32 [T, 225], with a little from before it."""
        return self._ring.since(self.machine.begun - self._rules.before_s)

    def keep(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Keep an answer under the next number, be ready for another sign, and return it."""
        self._count += 1
        answer = {**answer, "number": self._count}
        self._answers.append(answer)
        self.machine = answered(self.machine)
        return answer

    def missed(self, last: int) -> list[dict[str, Any]]:
        """Return the kept answers that come after one."""
        return [answer for answer in self._answers if answer["number"] > last]

    def send(self, message: dict[str, Any]) -> None:
        """Tell the page, if one is connected."""
        if self.outbox is not None:
            self.outbox.put(message)


class Sessions:
    """All sessions there are.

    Parameters
    ----------
    most
        How many may be connected at once.
    resume_s
        How long one is kept that lost its connection. One that is still kept goes first where there is no room.
    """

    def __init__(self, most: int, resume_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._resume_s, self._clock = most, resume_s, clock
        self._all: dict[str, Session] = {}

    @property
    def connected(self) -> int:
        """How many are connected."""
        return sum(one.left is None for one in self._all.values())

    def open(self, ident: str | None = None) -> tuple[Session, bool]:
        """Return a session, and whether it is the one of that id; a new one where there is none of that id.

        Raises
        ------
        FullError
            If as many are connected as may be.
        """
        self.expire()
        found = self._all.get(ident) if ident else None
        if found is not None and found.left is None:
            return found, True
        if self.connected >= self._most:
            raise FullError(f"all {self._most} live sessions are in use; try again in a minute")
        if found is None:
            found = Session()
            self._all[found.id] = found
            if len(self._all) > self._most:
                waiting = (one for one in self._all.values() if one.left is not None)
                self.end(min(waiting, key=lambda one: one.left or 0.0))
            found.left = None
            return found, False
        found.left = None
        return found, True

    def leave(self, session: Session) -> None:
        """Note that a session's connection is lost; it waits to be resumed."""
        session.left = self._clock()
        session.outbox = None
        self.expire()

    def end(self, session: Session) -> None:
        """Forget a session, with all of its frames."""
        self._all.pop(session.id, None)
        for task in session.tasks:
            task.cancel()

    def expire(self) -> None:
        """Forget sessions that waited too long."""
        now = self._clock()
        for one in [*self._all.values()]:
            if one.left is not None and now - one.left >= self._resume_s:
                self.end(one)
