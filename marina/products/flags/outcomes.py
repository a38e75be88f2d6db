"""What came of requests under a guarded flag: the events that the guard counts. The products' APIs write them.

    if drawn := flags.draw("ml_categorization", user):
        writer.add(Outcome(drawn, item, time.time(), error=False))
    ...
    writer.mark(item, correct=True)        # when feedback comes

An item is a request's id, or with a place behind it (``ID#3``) where one request has many. Nothing on a request's path
waits for the database: events are written every half second, in order.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from marina.database.connection import AWAY, Database, insert
from marina.database.flag_tables import FLAG_OUTCOMES, FLAG_TRUTHS
from marina.database.outage import Outage
from marina.processes.console import log
from marina.processes.guard import Guard
from marina.products.flags.provider import Draw

LONGEST_ITEM = 160
AT_ONCE = 1000
WAITING = 100_000
"""As many events wait while the database is unavailable; what is beyond is dropped, of both arms alike."""
EVERY_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """What came of one item.

    Attributes
    ----------
    draw
        The arm it is counted under.
    item
        Its id.
    time
        When it was answered, in seconds since 1970.
    error
        Whether it failed by our fault.
    """

    draw: Draw
    item: str
    time: float
    error: bool


@dataclass(frozen=True)
class Truth:
    """What feedback says of an item's answer."""

    item: str
    correct: bool
    time: float


def item_of(source: str, request_id: str, instance: int) -> str:
    """Return the item of one of a request's answers, of which rules and the model number theirs apart."""
    return f"{'rule' if source == 'rule' else 'model'} {request_id}#{instance}"


def record(connection: sa.Connection, outcomes: Sequence[Outcome]) -> None:
    """Write outcomes down; one that is there already is left as it is. Of a unit only a hash is kept."""
    rows = [
        {
            "flag": one.draw.flag,
            "item": one.item[:LONGEST_ITEM],
            "guard": one.draw.guard,
            "step": one.draw.step,
            "arm": one.draw.arm,
            "unit": hashlib.blake2b(one.draw.unit.encode(), digest_size=16).hexdigest() if one.draw.unit else "",
            "time": one.time,
            "error": one.error,
        }
        for one in outcomes
    ]
    if rows:
        connection.execute(insert(connection, FLAG_OUTCOMES).on_conflict_do_nothing(), rows)


def mark(connection: sa.Connection, truths: Sequence[Truth]) -> None:
    """Write down what is true of answers; what was sent last counts."""
    rows = {one.item: {"item": one.item[:LONGEST_ITEM], "correct": one.correct, "time": one.time} for one in truths}
    if rows:
        statement = insert(connection, FLAG_TRUTHS)
        later = {name: statement.excluded[name] for name in ("correct", "time")}
        connection.execute(statement.on_conflict_do_update(index_elements=["item"], set_=later), list(rows.values()))


class OutcomeWriter:
    """Writes events in a thread of its own."""

    def __init__(self, database: Database, report: Callable[[str], None] | None = None) -> None:
        self._database = database
        notify = report or (lambda text: log(f"flags: {text}", sys.stderr))
        self._outage = Outage(notify, "outcomes under guarded flags wait")
        self._guard = Guard(notify)
        self._waiting: deque[Outcome | Truth] = deque(maxlen=WAITING)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="flag outcomes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, if the database takes it, and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._flush()

    def add(self, outcome: Outcome) -> None:
        """Take an outcome; returns at once."""
        self._waiting.append(outcome)

    def mark(self, item: str, correct: bool, now: float) -> None:
        """Take what feedback says of an item; returns at once."""
        self._waiting.append(Truth(item, correct, now))

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            try:
                with self._guard.part("writing outcomes", passing=AWAY), self._database.writing() as connection:
                    record(connection, [one for one in some if isinstance(one, Outcome)])
                    mark(connection, [one for one in some if isinstance(one, Truth)])
                self._outage.end()
            except AWAY as error:
                self._outage.begin(error)
                self._waiting.extendleft(reversed(some))
                return
