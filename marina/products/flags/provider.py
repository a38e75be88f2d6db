"""The flags in memory, as the hot path reads them: a table of rules that is replaced whole when a flag changes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from marina.database.connection import AWAY, Database
from marina.database.outage import Outage
from marina.processes.console import log
from marina.processes.guard import Guard
from marina.products.flags.split import is_below
from marina.products.flags.table import Flag, read_flags, unknown

POLL_S = 5.0
"""How often the table is read again."""

Reason = Literal["DEFAULT", "STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED"]


@dataclass(frozen=True)
class Evaluation:
    """A flag's value for a unit, and why.

    Attributes
    ----------
    value
        Whether it is on.
    reason
        DEFAULT: it was never changed, or has a split and there is no unit to draw; DISABLED: off for all; STATIC: on
        for all; TARGETING_MATCH: the unit is one of its users; SPLIT: the unit was drawn.
    why
        The reason that was given for its last change.
    """

    value: bool
    reason: Reason
    why: str = ""


@dataclass(frozen=True)
class Draw:
    """The arm of a guarded flag that a unit was drawn for: what an outcome is counted under.

    Attributes
    ----------
    flag, guard, step
        Which flag, and which step of which guard.
    arm
        Whether the flag is on.
    unit
        What was drawn, empty where the request was drawn by itself.
    """

    flag: str
    guard: int
    step: int
    arm: bool
    unit: str


class _Split:
    """A flag that is on for some."""

    __slots__ = ("name", "parts", "users")

    def __init__(self, flag: Flag) -> None:
        self.name, self.parts, self.users = flag.name, flag.parts, flag.users

    def holds(self, key: str) -> bool:
        return key in self.users or (key != "" and is_below(self.name, key, self.parts))


def _rule(flag: Flag) -> bool | _Split:
    if flag.parts == 0 and not flag.users:
        return False
    return True if flag.share >= 1 else _Split(flag)


class Flags:
    """All flags; `value` is what a request's path calls.

    Parameters
    ----------
    read
        Reads the table; it may raise one of `marina.database.connection.AWAY`.
    report
        How to notify the operator.

    Examples
    --------
    >>> flags = Flags(lambda: {"ml_api_cache": Flag("ml_api_cache", 1.0)})
    >>> flags.value("ml_api_cache", "user-17")
    True
    """

    def __init__(self, read: Callable[[], Mapping[str, Flag]], report: Callable[[str], None] | None = None) -> None:
        self._read = read
        notify = report or (lambda text: log(f"flags: {text}", sys.stderr))
        self._outage = Outage(notify, "flags stay as they were last read")
        self._guard = Guard(notify)
        self._followers: list[Callable[[], None]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._put(read())

    @classmethod
    def of(cls, database: Database) -> Flags:
        """Return the flags of a database, read once.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            When the database is unavailable.
        """

        def read() -> dict[str, Flag]:
            with database.reading() as connection:
                return read_flags(connection)

        return cls(read)

    def value(self, name: str, key: str = "") -> bool:
        """Say whether a flag is on for a unit: under 2 µs where it is on or off for all, or the unit is known.

        Parameters
        ----------
        name
            Of the flag.
        key
            The unit that is drawn where the flag has a split: the user, the session, or the request's id where there
            is neither. Without one a flag with a split is off.

        Raises
        ------
        marina.products.flags.table.FlagError
            When there is no such flag.
        """
        rule = self._rules.get(name)
        if rule is True or rule is False:
            return rule
        if rule is None:
            raise unknown(name, self._flags)
        return rule.holds(key)

    def values(self, key: str = "") -> dict[str, bool]:
        """Return every flag's value for a unit, as an answer names them."""
        return {name: self.value(name, key) for name in self._rules}

    def evaluate(self, name: str, key: str = "") -> Evaluation:
        """Return a flag's value for a unit, and why; otherwise as `value`."""
        value, flag = self.value(name, key), self._flags[name]
        reason: Reason = "SPLIT"
        if key in flag.users:
            reason = "TARGETING_MATCH"
        elif not flag.changed_at or (not key and isinstance(self._rules[name], _Split)):
            reason = "DEFAULT"
        elif flag.parts == 0:
            reason = "DISABLED"
        elif flag.share >= 1:
            reason = "STATIC"
        return Evaluation(value, reason, flag.reason)

    def draw(self, name: str, key: str, alone: bool = False) -> Draw | None:
        """Return the arm under which an outcome is counted: what `value` says of the same key.

        Parameters
        ----------
        name
            Of the flag.
        key
            The unit.
        alone
            Whether the key is that of a single request, drawn by itself, and no unit that comes again.

        Returns
        -------
        Draw or None
            None where no guard rolls the flag out, and for a unit that was not drawn: named, or without a key.
        """
        flag = self._flags.get(name)
        if flag is None:
            raise unknown(name, self._flags)
        if flag.guard is None or not key or key in flag.users:
            return None
        return Draw(name, flag.guard, flag.step, self.value(name, key), "" if alone else key)

    @property
    def guarded(self) -> bool:
        """Whether any flag is rolled out by a guard."""
        return any(flag.guard is not None for flag in self._flags.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all flags."""
        return tuple(self._flags)

    def follow(self, notify: Callable[[], None]) -> None:
        """Have a function called after each change."""
        self._followers.append(notify)

    def refresh(self) -> bool:
        """Read the table again; return whether a flag changed. What cannot be read stays as it was."""
        try:
            found = self._read()
        except AWAY as error:
            self._outage.begin(error)
            return False
        self._outage.end()
        if found == self._flags:
            return False
        self._put(found)
        for notify in self._followers:
            notify()
        return True

    def start(self, poll_s: float = POLL_S) -> None:
        """Read the table again that often, in a thread of its own, until `stop`."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._poll, args=(poll_s,), name="flags", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _poll(self, poll_s: float) -> None:
        while not self._stop.wait(poll_s):
            with self._guard.part("reading the flags"):
                self.refresh()

    def _put(self, flags: Mapping[str, Flag]) -> None:
        self._flags = dict(flags)
        self._rules = {name: _rule(flag) for name, flag in flags.items()}
