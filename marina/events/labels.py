"""True labels: what the answer to a logged request should have been, as it comes to be known, and from whom.

A label of an answer that is in the log counts from then on. One that comes before its answer is early: it waits, for
`KEEP_EARLY_S` at most and in a bounded number, until the answer is there (`adopt`). Trusted sources come first: labels
of a source that is trusted (`marina.events.sources`) take the place of others', early or not. Of equals the first
stands. A label that is no class of the model that answered is not kept (`marina.events.known_classes`). What is true of
an answer that is no single label comes as a truth of its parts (`marina.events.truths`), and has the same outcomes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.key_lookup import Key, known, rows
from marina.database.tables import EARLY_LABELS, LABELS, PREDICTIONS, TRUTHS
from marina.events import offsets
from marina.events.known_classes import KnownClasses, Version, read_answered, read_known_classes
from marina.events.sampling import chosen
from marina.events.sources import trusted
from marina.events.truths import MOST_PARTS, Sent, TruthBook, merge, read_answers, read_standing

Outcome = Literal["recorded", "early", "duplicate", "conflict", "unanswered", "unlogged", "unknown", "refused"]
"""The outcome of a label.

``recorded``: the answer it belongs to is there, and it counts. ``early``: no answer to such a request is there; it is
kept for a while, and counts as soon as the answer comes. ``duplicate``: the same label was there already. ``conflict``:
another label was there already, and stands. ``unanswered``: the request was answered, but had no such instance.
``unlogged``: the answer is not among the share of those that are logged. ``unknown``: it is no class of the model that
answered, or no text, or no truth that its answer can have. ``refused``: too many early labels wait, of this source or
of all; send it again later.
"""

LONGEST = 256
"""Characters of a label, as the table has room for."""

LONGEST_SOURCE = 64

AT_ONCE = 1000
"""Labels that may come in one batch."""

KEEP_EARLY_S = 86_400.0
MOST_EARLY_OF_ONE, MOST_EARLY = 10_000, 50_000
"""Early labels that may wait, of one source and of all."""

PLACE = 512
"""Characters of an early truth that count as one label."""

_LOCK = 727465


@dataclass(frozen=True)
class Label:
    """What one instance of one request should have been answered with.

    Attributes
    ----------
    request_id
        As the answer bore it in ``X-Request-Id``.
    label
        In the model's own words; empty where there is a truth.
    instance
        Its place among the request's instances, from 0.
    source
        Who says so, as the gateway knows them.
    is_text
        Whether it was sent as a string. A number is no class, though its digits may be one's name.
    truth
        What is true of parts of the answer, as `marina.events.truths.Sent` writes it; empty where there is a label.
    """

    request_id: str
    label: str
    instance: int = 0
    source: str = ""
    is_text: bool = True
    truth: str = ""

    @property
    def places(self) -> int:
        """As how many labels it counts while it is early."""
        return 1 + len(self.truth) // PLACE

    @property
    def key(self) -> Key:
        """What it belongs to."""
        return self.request_id, self.instance


_Mine = tuple[str, int, str]
"""A request, an instance, and a source."""


class _Said(NamedTuple):
    label: str
    source: str
    time: float


def record(
    database: Database,
    labels: Sequence[Label],
    now: float,
    share: float = 1.0,
    beside: Callable[[sa.Connection, list[Outcome]], None] | None = None,
) -> list[Outcome]:
    """Keep labels in one transaction; doing it again is harmless.

    Parameters
    ----------
    database
        Where.
    labels
        A thousand or so; the lock on SQLite is held for as long as they take.
    now
        Seconds since 1970.
    share
        Share of the answers that is logged.
    beside
        Writes what is to be there if and only if the labels are, in the same transaction.

    Returns
    -------
    list of Outcome
        One for each label. Of two that contradict each other the first in the list stands, as it does of two calls.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        When the database is unavailable. Nothing is kept then, or all if it went before it had said so.
    """
    if not labels:
        return []
    keys = list({one.key for one in labels})
    with database.writing() as connection:
        one_at_a_time(connection)
        answered = read_answered(connection, keys)
        waiting = [key for key in keys if key not in answered]
        book = _open_book(connection, answered, keys, list({one.key for one in labels if one.truth}), now)
        if waiting:
            book.known = known(connection, PREDICTIONS, {key[0] for key in waiting})
            there = EARLY_LABELS.c
            found = rows(connection, EARLY_LABELS, waiting, there.label, there.truth, there.source)
            book.early = {(row.request_id, row.instance, row.source): (row.label, row.truth) for row in found}
            book.room = _room(connection, {one.source for one in labels})
        outcomes = [book.take(one, share) for one in labels]
        _write(database, connection, book)
        database.put(connection, EARLY_LABELS, list(book.waiting.values()))
        if beside is not None:
            beside(connection, outcomes)
    return outcomes


@dataclass
class _Book:
    """What is known of the labels of this batch, and what is to be written."""

    answered: dict[Key, set[Version]]
    classes: KnownClasses
    standing: dict[Key, _Said]
    truths: TruthBook
    now: float
    known: set[str] = field(default_factory=set)
    early: dict[_Mine, tuple[str, str]] = field(default_factory=dict)
    room: dict[str | None, int] = field(default_factory=dict)
    counting: dict[Key, dict[str, Any]] = field(default_factory=dict)
    waiting: dict[_Mine, dict[str, Any]] = field(default_factory=dict)

    def take(self, one: Label, share: float) -> Outcome:
        """Find the outcome of a label."""
        if one.truth and one.key in self.answered:
            return self.truths.take(one.key, Sent.from_text(one.truth), one.source)
        if not one.is_text or not self._accepts(one):
            return "unknown"
        if not one.truth and one.key in self.standing:
            return self._beside(one, self.standing[one.key])
        if one.key in self.answered:
            self._count(one, self.now)
            return "recorded"
        if one.request_id in self.known:
            return "unanswered"
        if not chosen(one.request_id, share):
            return "unlogged"
        mine = (*one.key, one.source)
        if mine in self.early:
            label, truth = self.early[mine]
            if (label, truth) == (one.label, one.truth):
                return "duplicate"
            together = _join(truth, one.truth)
            if together is None:
                return "conflict"
            if together == truth:
                return "duplicate"
            one = replace(one, truth=together)
        if min(self.room[one.source], self.room[None]) < one.places:
            return "refused"
        self.early[mine] = one.label, one.truth
        for whose in (one.source, None):
            self.room[whose] -= one.places
        self.waiting[mine] = _row(one, self.now) | {"source": one.source, "truth": one.truth}
        return "early"

    def _accepts(self, one: Label) -> bool:
        answered = self.answered.get(one.key)
        return answered is None or self.classes.accepts(answered, one.label)

    def _count(self, one: Label, since: float) -> None:
        self.standing[one.key] = _Said(one.label, one.source, since)
        self.counting[one.key] = _row(one, since)

    def _beside(self, one: Label, there: _Said) -> Outcome:
        same = there.label == one.label
        if trusted(one.source) and not trusted(there.source):
            self._count(one, there.time if same else self.now)
            return "duplicate" if same else "recorded"
        return "duplicate" if same else "conflict"


def adopt(database: Database, connection: sa.Connection, answered: Iterable[Key], now: float) -> int:
    """Let early labels count whose answers have come; return how many. Of those that are no class the number is kept.

    Parameters
    ----------
    connection
        The transaction that wrote the answers.
    answered
        Their keys. What waits for other instances of the same requests waits in vain, and goes.
    now
        Seconds since 1970.
    """
    if connection.execute(sa.select(EARLY_LABELS.c.instance).limit(1)).first() is None and not _locks(connection):
        return 0
    one_at_a_time(connection)
    there = set(answered)
    waiting = known(connection, EARLY_LABELS, {key[0] for key in there})
    if not waiting:
        return 0
    mine = [key for key in there if key[0] in waiting]
    versions = read_answered(connection, mine)
    early = EARLY_LABELS.c
    found = connection.execute(sa.select(EARLY_LABELS).where(early.request_id.in_(waiting)).order_by(early.time)).all()
    book = _open_book(connection, versions, mine, [(row.request_id, row.instance) for row in found if row.truth], now)
    said = [Label(row.request_id, row.label, row.instance, row.source, truth=row.truth) for row in found]
    outcomes = [book.take(one, share=1.0) for one in said if one.key in versions]
    offsets.count_unknown(database, connection, outcomes.count("unknown"))
    _write(database, connection, book)
    connection.execute(sa.delete(EARLY_LABELS).where(early.request_id.in_(waiting)))
    return len(book.counting) + len(book.truths.counting)


def count_early(connection: sa.Connection, source: str | None = None) -> int:
    """Return how many early labels wait, of one source or of all."""
    mine = sa.true() if source is None else EARLY_LABELS.c.source == source
    return int(connection.execute(sa.select(sa.func.count()).select_from(EARLY_LABELS).where(mine)).scalar_one())


def _open_book(
    connection: sa.Connection,
    answered: dict[Key, set[Version]],
    keys: Sequence[Key],
    of_truths: Sequence[Key],
    now: float,
) -> _Book:
    classes = read_known_classes(connection, set().union(*answered.values()))
    mine = [key for key in of_truths if key in answered]
    truths = TruthBook(read_answers(connection, mine), classes, read_standing(connection, mine), now)
    return _Book(answered, classes, _standing(connection, keys), truths, now)


def _write(database: Database, connection: sa.Connection, book: _Book) -> None:
    database.put(connection, LABELS, list(book.counting.values()))
    database.put(connection, TRUTHS, list(book.truths.counting.values()))


def _join(there: str, more: str) -> str | None:
    """Return what two early truths of one source say together; None where they are none, or contradict each other."""
    if not there or not more:
        return None
    first, second = Sent.from_text(there), Sent.from_text(more)
    both = merge(first.entries, second.entries) if first.form == second.form else None
    return None if both is None or len(both) > MOST_PARTS else Sent(first.form, both).text


def _room(connection: sa.Connection, sources: Iterable[str]) -> dict[str | None, int]:
    left: dict[str | None, int] = {one: MOST_EARLY_OF_ONE - _early_places(connection, one) for one in sources}
    return left | {None: MOST_EARLY - _early_places(connection)}


def _early_places(connection: sa.Connection, source: str | None = None) -> int:
    mine = sa.true() if source is None else EARLY_LABELS.c.source == source
    places = sa.func.sum(1 + sa.func.length(EARLY_LABELS.c.truth) // PLACE)
    return int(connection.execute(sa.select(places).where(mine)).scalar_one() or 0)


def _standing(connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, _Said]:
    found = rows(connection, LABELS, keys, LABELS.c.label, LABELS.c.source, LABELS.c.time)
    return {(row.request_id, row.instance): _Said(row.label, row.source, row.time) for row in found}


def _row(one: Label, now: float) -> dict[str, Any]:
    said = {"request_id": one.request_id, "instance": one.instance, "label": one.label}
    return said | {"source": one.source, "time": now}


def _locks(connection: sa.Connection) -> bool:
    """Return whether several may write at once: a label may then be about to wait that no one sees yet."""
    return connection.dialect.name == "postgresql"


def one_at_a_time(connection: sa.Connection) -> None:
    """Wait for other transactions that write labels, as on SQLite one does for any.

    Else a label could find no answer, and the answer no label, both being written at once.
    """
    if _locks(connection):
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
