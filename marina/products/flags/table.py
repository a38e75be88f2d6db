"""The flags as they stand in the database, and how they are changed: each change is one row of the ledger."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import insert
from marina.database.flag_tables import FLAG_GUARDS, FLAGS
from marina.products.flags.split import PARTS
from marina.releases import ledger
from marina.releases.ledger import FLAG, Entry

DEFAULTS: Mapping[str, float] = {
    "auto_categorization_rules": 1.0,
    "ml_api_cache": 1.0,
    "ml_categorization": 0.0,
    "anomaly_detection": 0.0,
    "ab_testing": 0.0,
    "budget_predictions": 0.0,
    "smart_recommendations": 0.0,
    "predictive_alerts": 0.0,
}
"""The share of the units for which a flag is on until it is changed."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
LONGEST_WHO, LONGEST_WHY, LONGEST_USER, MOST_USERS = 128, 2000, 128, 1000

SET, GUARD = "set flag", "guard flag"
"""The ledger's words for a change by a person, and for what a guard does."""


class FlagError(MarinaError, ValueError):
    """A flag cannot be read or changed; the message says what was expected, and what to do."""


@dataclass(frozen=True)
class Flag:
    """A feature flag.

    Attributes
    ----------
    name
        Its name.
    share
        For which share of the units it is on, in thousandths: 0 is off, 1 is on.
    users
        Units for which it is on whatever the share.
    reason, changed_at, changed_by
        Why it was last changed, when (seconds since 1970), and by whom; ``default``, 0 and empty where it never was.
    guard, step
        The guard that rolls it out and its step, while one does.
    """

    name: str
    share: float
    users: frozenset[str] = frozenset()
    reason: str = "default"
    changed_at: float = 0.0
    changed_by: str = ""
    guard: int | None = None
    step: int = 0

    @property
    def parts(self) -> int:
        """In how many of the thousand parts it is on."""
        return round(self.share * PARTS)


def read_flags(connection: sa.Connection) -> dict[str, Flag]:
    """Read all flags by name: those with a default, and those that people added."""
    found = {name: Flag(name, share) for name, share in DEFAULTS.items()}
    joined = sa.outerjoin(FLAGS, FLAG_GUARDS, FLAGS.c.guard == FLAG_GUARDS.c.id)
    for row in connection.execute(sa.select(FLAGS, FLAG_GUARDS.c.step).select_from(joined).order_by(FLAGS.c.name)):
        found[row.name] = Flag(
            row.name,
            row.share,
            frozenset(json.loads(row.users)),
            row.reason,
            row.changed_at,
            row.changed_by,
            row.guard,
            row.step or 0,
        )
    return found


def read_flag(connection: sa.Connection, name: str) -> Flag:
    """Read one flag.

    Raises
    ------
    FlagError
        When there is none of that name.
    """
    flags = read_flags(connection)
    if name not in flags:
        raise unknown(name, flags)
    return flags[name]


def unknown(name: str, flags: Iterable[str]) -> FlagError:
    """Return what says that there is no flag of that name."""
    return FlagError(f"No flag {name!r}: expected one of {', '.join(sorted(flags))}.")


def set_flag(
    connection: sa.Connection,
    name: str,
    who: str,
    why: str,
    now: float,
    *,
    share: float | None = None,
    users: Iterable[str] | None = None,
    new: bool = False,
) -> Flag:
    """Change a flag; one row of the ledger says who did, and why. What is no change adds none.

    Parameters
    ----------
    connection
        A writing transaction of `marina.releases.heads.open_database`.
    name, who, why
        Which flag, who changes it, and the reason.
    now
        Seconds since 1970.
    share
        For which share of the units it is on; None: as it was. A guard that rolls the flag out is stopped by it.
    users
        Units for which it is on whatever the share; None: as they were.
    new
        Whether the flag may be one that there is not yet.

    Raises
    ------
    FlagError
        When anything of it cannot be.
    """
    check(name, who, why, share, users)
    ledger.lock(connection)
    flags = read_flags(connection)
    if name not in flags and not new:
        raise unknown(name, flags)
    before = flags.get(name, Flag(name, 0.0))
    wanted = replace(
        before,
        share=before.share if share is None else share,
        users=before.users if users is None else frozenset(users),
        guard=before.guard if share is None else None,
    )
    if wanted == before and name in flags:
        return before
    after = replace(wanted, reason=why, changed_at=now, changed_by=who)
    if before.guard is not None and after.guard is None:
        stopped = {"phase": "stopped", "note": f"by {who}: {why}"}
        connection.execute(sa.update(FLAG_GUARDS).where(FLAG_GUARDS.c.id == before.guard).values(stopped))
    write(connection, after)
    change = {"from": before.share, "to": after.share, "why": why}
    if after.users != before.users:
        change |= {"users": sorted(after.users)}
    ledger.append(connection, who, SET, FLAG + name, change, now)
    return after


def write(connection: sa.Connection, flag: Flag) -> None:
    """Write a flag down, in the place of what was there."""
    values = {
        "share": flag.share,
        "users": json.dumps(sorted(flag.users)),
        "reason": flag.reason,
        "changed_at": flag.changed_at,
        "changed_by": flag.changed_by,
        "guard": flag.guard,
    }
    statement = insert(connection, FLAGS).values(name=flag.name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def history(connection: sa.Connection, name: str | None = None) -> Iterator[Entry]:
    """Read the ledger's rows about one flag, or about all, the newest first."""
    for entry in ledger.entries(connection, FLAG + name if name else None, newest_first=True):
        if entry.model.startswith(FLAG):
            yield entry


def describe(entry: Entry) -> str:
    """Return one row of the history as a line of text."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time))
    said = entry.said
    words = f"{100 * said['from']:g} % to {100 * said['to']:g} %"
    if "users" in said:
        words += f", always on for {len(said['users'])}"
    return f"{when}  {entry.model.removeprefix(FLAG)}: {words}, by {entry.who}: {said['why']}"


def check(name: str, who: str, why: str, share: float | None = None, users: Iterable[str] | None = None) -> None:
    """Raise a `FlagError` where anything of a change cannot be."""
    if not NAME.fullmatch(name):
        raise FlagError(f"{name[:80]!r}: expected a name of 1 to 64 of a-z, 0-9 and _, beginning with a letter.")
    for word, given, most in (("who", who, LONGEST_WHO), ("why", why, LONGEST_WHY)):
        if not given.strip() or len(given) > most or "\0" in given:
            raise FlagError(f"{word}: expected 1 to {most} characters, got {len(given)}.")
    if share is not None and not (0 <= share <= 1 and abs(share * PARTS - round(share * PARTS)) < 1e-6):
        raise FlagError(f"share: expected thousandths from 0 to 1 (0.2 is 20 %), got {share!r}.")
    if users is not None:
        users = list(users)
        wrong = [one for one in users if not 1 <= len(one) <= LONGEST_USER or "\0" in one]
        if wrong or len(users) > MOST_USERS:
            got = f"one of {len(wrong[0])}" if wrong else f"{len(users)} of them"
            raise FlagError(f"users: expected at most {MOST_USERS}, of 1 to {LONGEST_USER} characters, got {got}.")
