"""One WebSocket: what a page says, what happens to its session, and what it is told.

Binary messages are frames (`marina.products.live.frames`), text is JSON. The page begins with ``{"type": "hello"}``,
and where it continues a session adds ``session`` and ``answers``, the number of the last answer it has; where the
server asks for a token, ``token``. It is told ``welcome`` (``session``, ``resumed``, and ``received``: the number of
the newest frame; what comes after it is to be sent again), and then, as they come:

=========== =========================================================================================================
state       ``state``; ``frame``, the number of the frame that brought it about; ``why``
guess       ``predictions``, of what has been recorded so far
answer      ``number``, ``sign`` (null where that is not confident, or the sequence is unlike all of the training),
            ``probability``, ``predictions``, ``ms`` (from the frame that ended the sign to this answer), ``frames``,
            ``why``, ``version``, where the model says them ``unusual`` and ``confident``, and where that was asked for
            ``embedding``
received    ``frame``: frames until this one need not be kept
error       ``code``, ``message``
=========== =========================================================================================================

``{"type": "calibrate", "calibration_of", "prototypes"}`` has the person's own takes count (without them: no longer),
``{"type": "embed", "on": true}`` has answers bring the embedding that becomes a take.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from marina.products.live.frames import FrameError, unpack
from marina.products.live.outbox import POLICY, ClosingError, Outbox
from marina.products.live.phases import OVER, Event, Phase
from marina.products.live.recogniser import AskError, Recogniser
from marina.products.live.session import FullError, Session, Sessions
from marina.products.live.takes import TakesError, read_takes
from models.signflow.sequences import Frames

HELLO_S: Final = 5.0
"""How long a connection may be open without a hello."""

TRY_AGAIN: Final = 1013
NORMAL: Final = 1000
UNAUTHORIZED: Final = 4401
ELSEWHERE: Final = 4409

RECEIPT_FRAMES: Final = 15
"""After so many frames the page is told which have arrived."""

PER_SECOND, BURST = 75.0, 450.0
"""Frames a session may send, and how many at once after a pause: what a page has kept while it was not connected."""

TEXT_PER_FRAME: Final = 16_384
"""So many characters of text count as a frame, and every text as one at least: the longest takes, and all the frames
that a page has kept, are read at once."""

LEAST_UNSAID: Final = 0.5
"""From which probability on an answer is sure whose model does not say whether it is: more likely right than not."""


@dataclass(frozen=True)
class Policy:
    """What the settings say.

    Attributes
    ----------
    tokens
        Inference tokens; none: no one is asked for one.
    confidence
        Below this probability there is no sign; None: where the model is not confident.
    partial_s
        Time between guesses.
    idle_s
        After so long without a message it ends.
    """

    tokens: tuple[str, ...] = ()
    confidence: float | None = None
    partial_s: float = 0.5
    idle_s: float = 60.0


class Connection:
    """One WebSocket, from its hello to its end."""

    def __init__(self, socket: WebSocket, sessions: Sessions, recogniser: Recogniser, policy: Policy) -> None:
        self._socket, self._sessions, self._recogniser, self._policy = socket, sessions, recogniser, policy
        self._outbox = Outbox(socket.send_text)
        self._token = ""
        self._tokens, self._filled = BURST, time.monotonic()
        self._heard = time.monotonic()

    async def run(self) -> None:
        """Serve it until either side ends it."""
        await self._socket.accept()
        session: Session | None = None
        try:
            session = await self._greet()
            await self._both(session)
        except ClosingError as closing:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close(closing.code, str(closing)[:120])
            if session is not None and closing.code == NORMAL and session.outbox is self._outbox:
                self._sessions.end(session)
        except WebSocketDisconnect:
            pass
        finally:
            if session is not None and session.outbox is self._outbox:
                self._sessions.leave(session)

    async def _both(self, session: Session) -> None:
        """Read and write until one of them ends, or nothing comes any more."""
        tasks = [asyncio.ensure_future(work) for work in (self._read(session), self._outbox.run(), self._watch())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """End a connection on which nothing comes; that is cheaper than a time limit for each frame."""
        while (left := self._heard + self._policy.idle_s - time.monotonic()) > 0:
            await asyncio.sleep(left)
        raise ClosingError(NORMAL, f"idle: nothing came for {self._policy.idle_s:g} s")

    async def _greet(self) -> Session:
        """Wait for the hello, and return the session that it begins or continues."""
        try:
            async with asyncio.timeout(HELLO_S):
                message = await self._socket.receive()
        except TimeoutError:
            raise ClosingError(POLICY, f"no hello within {HELLO_S:g} s") from None
        hello = _read_text(message)
        if hello.get("type") != "hello":
            raise ClosingError(POLICY, 'expected {"type": "hello"} first')
        token, ident, last = hello.get("token", ""), hello.get("session"), hello.get("answers", 0)
        if self._policy.tokens:
            known = isinstance(token, str) and any(
                hmac.compare_digest(token.encode(), one.encode()) for one in self._policy.tokens
            )
            if not known:
                raise ClosingError(UNAUTHORIZED, "this server asks for a token, and this is none of its own")
            self._token = token
        try:
            session, resumed = self._sessions.open(ident if isinstance(ident, str) else None)
        except FullError as error:
            raise ClosingError(TRY_AGAIN, str(error)) from error
        if session.outbox is not None:
            session.outbox.end(ClosingError(ELSEWHERE, "continued in another window"))
        session.outbox = self._outbox
        self._outbox.put({"type": "welcome", "session": session.id, "resumed": resumed, "received": session.received})
        session.send({"type": "state", "state": session.machine.phase, "frame": session.received, "why": "welcome"})
        for answer in session.missed(last if isinstance(last, int) else 0) if resumed else ():
            session.send(answer)
        return session

    async def _read(self, session: Session) -> None:
        while True:
            message = await self._socket.receive()
            self._heard = time.monotonic()
            data = message.get("bytes")
            if data is None:
                self._charge(max(1.0, len(message.get("text") or "") / TEXT_PER_FRAME))
                self._hear(session, _read_text(message))
            else:
                self._charge(1.0)
                self._take(session, data)

    def _charge(self, frames: float) -> None:
        """Count what came just now.

        Raises
        ------
        ClosingError
            If it is too much.
        """
        self._tokens = min(BURST, self._tokens + PER_SECOND * (self._heard - self._filled)) - frames
        self._filled = self._heard
        if self._tokens < 0:
            raise ClosingError(POLICY, f"too many messages: at most {PER_SECOND:g} frames a second, 30 are enough")

    def _take(self, session: Session, data: bytes) -> None:
        now = self._heard
        try:
            frame = unpack(data)
        except FrameError as error:
            raise ClosingError(POLICY, str(error)) from error
        event = session.take(frame)
        if event is not None:
            self._follow(session, event, now)
        if frame.number % RECEIPT_FRAMES == 0:
            session.send({"type": "received", "frame": session.received})

    def _follow(self, session: Session, event: Event, now: float) -> None:
        session.send({"type": "state", "state": session.machine.phase, "frame": session.received, "why": event})
        if event is Event.BEGUN:
            _keep(session, self._guess(session, session.machine.begun))
        elif event in OVER:
            _keep(session, self._answer(session, session.recorded(), event, now))  # without frames that come later

    async def _guess(self, session: Session, begun: float) -> None:
        """Say what it may be, again and again while it is recorded; an answer asked for meanwhile comes first."""
        last = -1
        while True:
            await asyncio.sleep(self._policy.partial_s)
            if not self._recording(session, begun):
                return
            if not self._recogniser.calm or session.outbox is None or session.received == last:
                continue
            last, frames = session.received, session.recorded()
            with contextlib.suppress(AskError):  # the answer will say so
                found = await self._recogniser.guess(frames, session.group, self._token, session.calibration)
                if self._recording(session, begun):
                    session.send({"type": "guess", "predictions": found["predictions"]})

    @staticmethod
    def _recording(session: Session, begun: float) -> bool:
        return session.machine.phase is Phase.RECORDING and session.machine.begun == begun

    async def _answer(self, session: Session, frames: Frames, why: Event, ended: float) -> None:
        """Ask for a sign that is over, and tell; with the next frames the session is ready for another."""
        try:
            found = await self._recogniser.ask(frames, session.group, self._token, session.calibration, session.embeds)
        except AskError as error:
            if error.code == "other_version":
                session.calibration = {}
            session.send({"type": "error", "code": error.code, "message": str(error)})
            answer: dict[str, Any] = {"type": "answer", "sign": None, "probability": None, "predictions": []}
            found = {}
        else:
            best = found["predictions"][0]
            least = self._policy.confidence
            likely = best["probability"] >= (LEAST_UNSAID if least is None else least)
            enough = found.get("confident", likely) if least is None else likely
            sure = enough and not found.get("unusual", False)
            answer = {"type": "answer", "sign": best["label"] if sure else None, "probability": best["probability"]}
        milliseconds = round(1000 * (time.monotonic() - ended), 1)
        session.send(session.keep({**answer, **found, "ms": milliseconds, "frames": len(frames), "why": why}))
        session.send({"type": "state", "state": session.machine.phase, "frame": session.received, "why": "answered"})

    def _hear(self, session: Session, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "embed":
            session.embeds = message.get("on") is True
        elif kind == "calibrate":
            try:
                session.calibration = read_takes(message)
            except TakesError as error:
                session.send({"type": "error", "code": "invalid", "message": str(error)})
        elif kind == "bye":
            raise ClosingError(NORMAL, "as asked")
        else:
            known = "a frame, or JSON whose type is embed, calibrate or bye"
            session.send({"type": "error", "code": "unknown_message", "message": f"expected {known}"})


def _keep(session: Session, work: Any) -> None:
    """Have a session's work done, whether or not its connection lasts."""
    task = asyncio.get_running_loop().create_task(work)
    session.tasks.add(task)
    task.add_done_callback(session.tasks.discard)


def _read_text(message: Any) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    WebSocketDisconnect
        If the page has left.
    ClosingError
        If it is anything else.
    """
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", NORMAL), message.get("reason"))
    try:
        read = orjson.loads(message.get("text") or message.get("bytes") or b"")
    except orjson.JSONDecodeError:
        read = None
    if not isinstance(read, dict):
        raise ClosingError(POLICY, "expected a JSON object")
    return read
