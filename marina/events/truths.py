"""Truths that are no single label: whether one can be true of an answer, and what it makes of what was known before.

A truth is of some or all parts of an answer (`models.quality.answers`): of questions, rows or numbers. What comes later
of other parts is added; what contradicts is not kept, and nothing that came with it either.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import orjson
import sqlalchemy as sa

from marina.database.key_lookup import Key, rows
from marina.database.tables import PREDICTIONS, TRUTHS
from marina.events.known_classes import KnownClasses, Version, describe_classes, find_nearest
from marina.events.sources import trusted
from models.quality.answers import LINES, VALUE, Amount, Parts, impact_of, read_parts
from models.quality.kinds import Kind, kind_of_answer

Entries = Mapping[str, bool | float]
"""What is true, by part."""

MOST_PARTS = 200
"""Parts that one truth may be of."""


LARGEST = 1e15
"""The largest number that may be true of anything here."""


class TruthFault(Exception):
    """A truth cannot be one of an answer.

    Parameters
    ----------
    field, expected, received
        Where, what was expected there, and what came.
    nearest
        The part that was probably meant, where one is like it.
    """

    def __init__(self, field: str, expected: str, received: str, nearest: str | None = None) -> None:
        super().__init__(f"{field}: expected {expected}, got {received}")
        self.field = field
        self.expected = expected
        self.received = received
        self.nearest = nearest


class Sent(NamedTuple):
    """A truth as it was sent: of rows by their place, or of whatever else has a name."""

    form: Literal["rows", "parts"]
    entries: Entries

    @property
    def text(self) -> str:
        """The same as canonical JSON."""
        return json.dumps({self.form: self.entries}, sort_keys=True, ensure_ascii=False, allow_nan=False)

    @staticmethod
    def from_text(text: str) -> "Sent":
        """Read what `text` wrote."""
        [(form, entries)] = orjson.loads(text).items()
        return Sent(form, entries)


class Answered(NamedTuple):
    """An answer that a truth may be of."""

    version: Version
    answer: Any


class Standing(NamedTuple):
    """What is known to be true of an answer."""

    kind: str
    entries: Entries
    source: str
    time: float


def read_answers(connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, list[Answered]]:
    """Return the answers to some instances, of every version that gave one."""
    found: dict[Key, list[Answered]] = {}
    columns = (PREDICTIONS.c.model, PREDICTIONS.c.version, PREDICTIONS.c.answer)
    for row in rows(connection, PREDICTIONS, keys, *columns) if keys else ():
        answered = Answered((row.model, row.version), orjson.loads(row.answer))
        found.setdefault((row.request_id, row.instance), []).append(answered)
    return {key: sorted(some, key=lambda one: one.version) for key, some in found.items()}


def read_standing(connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, Standing]:
    """Return what is known to be true of some instances."""
    columns = (TRUTHS.c.kind, TRUTHS.c.truth, TRUTHS.c.source, TRUTHS.c.time)
    return {
        (row.request_id, row.instance): Standing(row.kind, orjson.loads(row.truth), row.source, row.time)
        for row in (rows(connection, TRUTHS, keys, *columns) if keys else ())
    }


@dataclass
class TruthBook:
    """What is known of the truths of a batch, and what is to be written."""

    answers: Mapping[Key, Sequence[Answered]]
    classes: KnownClasses
    standing: dict[Key, Standing]
    now: float
    counting: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def take(self, key: Key, sent: Sent, source: str) -> Literal["recorded", "duplicate", "conflict", "unknown"]:
        """Find the outcome of a truth whose answer is there."""
        found = self._accept(key, sent)
        if found is None:
            return "unknown"
        kind, entries = found
        there = self.standing.get(key)
        if there is None:
            self._count(key, Standing(kind, entries, source, self.now))
            return "recorded"
        same = entries.items() <= there.entries.items()
        if trusted(source) and not trusted(there.source):
            self._count(key, Standing(kind, entries, source, there.time if entries == there.entries else self.now))
            return "duplicate" if entries == there.entries else "recorded"
        if same:
            return "duplicate"
        outranked = trusted(there.source) and not trusted(source)
        merged = None if outranked else merge(there.entries, entries)
        if merged is None:
            return "conflict"
        self._count(key, Standing(kind, merged, there.source, self.now))
        return "recorded"

    def _accept(self, key: Key, sent: Sent) -> tuple[Kind, Entries] | None:
        for one in self.answers.get(key, ()):
            try:
                return check(sent, one, self.classes)
            except TruthFault:
                continue
        return None

    def _count(self, key: Key, known: Standing) -> None:
        self.standing[key] = known
        text = json.dumps(known.entries, sort_keys=True, ensure_ascii=False, allow_nan=False)
        row = {"request_id": key[0], "instance": key[1], "kind": known.kind, "truth": text}
        self.counting[key] = row | {"time": known.time, "source": known.source}


def merge(there: Entries, more: Entries) -> Entries | None:
    """Return what is true by both; None where they contradict each other."""
    if any(there.get(name, value) != value for name, value in more.items()):
        return None
    return {**there, **more}


def check(sent: Sent, answered: Answered, classes: KnownClasses) -> tuple[Kind, Entries]:
    """Return the kind of truth and, canonically, what is true.

    Parameters
    ----------
    sent
        As it came.
    answered
        The answer it is of.
    classes
        What is known of the version that gave it.

    Raises
    ------
    TruthFault
        If it cannot be true of that answer.
    """
    version = answered.version
    name = " ".join(version)
    kind = classes.kind(version) or kind_of_answer(answered.answer)
    if kind is None or kind == "label":
        known = classes.of_model(version)
        label = f'"label", a class{f" ({describe_classes(known)})" if known else ""}'
        raise TruthFault("truth", f"{label}: an answer of {name} is one label", _describe(sent))
    parts = read_parts(kind, answered.answer)
    if (kind == "rows") != (sent.form == "rows"):
        raise TruthFault("truth", describe_form(kind, name), _describe(sent))
    if kind == "questions":
        return kind, _questions(sent, frozenset(parts) | classes.of_model(version), name)
    if kind == "rows":
        return kind, _rows(sent, parts, name)
    return kind, _numbers(sent, parts, name)


_FORMS: Mapping[Kind, str] = {
    "label": "a class of {name}",
    "questions": "true or false for some of the questions of {name}",
    "rows": '{{"row": …, "anomalous": true or false}} of a row of {name}\'s answer, or a list of these',
    "numbers": "a number for some of the targets of {name}",
}


def describe_form(kind: Kind | None, name: str) -> str:
    """Return in which form truths of a kind are sent, of a model and version."""
    return _FORMS[kind].format(name=name) if kind else "of its parts"


def _questions(sent: Sent, known: Collection[str], name: str) -> Entries:
    found = {}
    for question, value in sent.entries.items():
        if question not in known:
            raise _unknown(question, known, f"a question of {name}")
        if not isinstance(value, bool) and value not in (0, 1):
            raise TruthFault(_field(question), "true or false (or 1 or 0)", f"the number {value!r}")
        found[question] = bool(value)
    return found


def _rows(sent: Sent, parts: Parts, name: str) -> Entries:
    for row in sent.entries:
        if row not in parts:
            most = f"from 0 to {len(parts) - 1}" if parts else "of which there is none"
            raise TruthFault("truth.row", f"a row of the answer of {name}, {most}", f"row {row}")
    return {row: bool(value) for row, value in sent.entries.items()}


def _numbers(sent: Sent, parts: Parts, name: str) -> Entries:
    targets = {VALUE, LINES} if _is_impact(parts) else set(parts)
    found = {}
    for target, value in sent.entries.items():
        if target not in targets:
            raise _unknown(target, targets, f"a target of the answer of {name}")
        if isinstance(value, bool):
            raise TruthFault(_field(target), "a number", str(value).lower())
        if target == LINES and _is_impact(parts):
            if VALUE in sent.entries:
                raise TruthFault(_field(LINES), f'either "{LINES}" or "{VALUE}"', "both")
            if value < 0:
                raise TruthFault(_field(LINES), "a number of lines, 0 or more", f"{value!r}")
            found[VALUE] = impact_of(value)
        elif _is_impact(parts) and not 0 <= value <= 1:
            raise TruthFault(_field(VALUE), f'a number from 0 to 1 (lines of code are "{LINES}")', f"{value!r}")
        else:
            found[target] = float(value)
    return found


def _is_impact(parts: Parts) -> bool:
    said = parts.get(VALUE)
    return len(parts) == 1 and isinstance(said, Amount) and said.is_share


def _unknown(part: str, known: Collection[str], expected: str) -> TruthFault:
    nearest = find_nearest(part, frozenset(known)) if known else None
    which = f" ({describe_classes(known)})" if known else ", of which there is none"
    return TruthFault(_field(part), expected + which, f"the name {part[:40]!r}", nearest)


def _field(part: str) -> str:
    return f"truth.{part[:64]}"


def _describe(sent: Sent) -> str:
    what = "rows" if sent.form == "rows" else "named values"
    return f"{len(sent.entries)} {what} ({', '.join(sorted(sent.entries)[:3])[:60]})"


def is_finite(value: object) -> bool:
    """Return whether a value of JSON is a truth value or a number that a database takes."""
    return isinstance(value, bool) or (isinstance(value, int | float) and _fits(value))


def _fits(value: float) -> bool:
    try:
        return math.isfinite(float(value)) and abs(value) <= LARGEST
    except OverflowError:
        return False
