"""Who may use the console, as what: each person has a token, of which the database keeps an argon2 hash.

A token is ``NAME~SECRET``. The first person is made when a server starts (`ensure_first`), with all rights: who can
read the state folder can write the database anyway. Others are added by ``scripts/console_users.py``.
"""

import contextlib
import functools
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.database.console_tables import PEOPLE
from marina.releases import ledger
from marina.settings import Settings, console_token

ROLES: Final = ("viewer", "annotator", "operator", "approver")
"""Each may do what those before it may: look; label; decide; approve that a canary takes all traffic."""

NAME: Final = re.compile(r"[a-z][a-z0-9._-]{0,39}")
NO_MODEL: Final = ""
"""In the ledger, what is about no model."""

_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)  # OWASP's least; secrets are random


class PeopleError(MarinaError):
    """A person cannot be added or changed; the message says why."""


@dataclass(frozen=True)
class Person:
    """One who may use the console.

    Attributes
    ----------
    name, role
        Who, and one of `ROLES`.
    added_at, added_by
        Since when, and by whom.
    revoked_at
        None while they may.
    signed_out_at
        Sessions that began before it are void.
    """

    name: str
    role: str
    added_at: float
    added_by: str
    revoked_at: float | None
    signed_out_at: float

    def may(self, role: str) -> bool:
        """Return whether the person has at least a role."""
        return self.revoked_at is None and ROLES.index(self.role) >= ROLES.index(role)


def add(database: Database, name: str, role: str, by: str, now: float) -> str:
    """Add a person, or give one another role and token; return the token, which is kept nowhere.

    Parameters
    ----------
    database
        One for a writer of the ledger (`marina.releases.heads.open_database`).

    Raises
    ------
    PeopleError
        When the name or the role is none.
    """
    secret = secrets.token_urlsafe(32)
    _put(database, name, role, f"{name}~{secret}", by, now)
    return f"{name}~{secret}"


def revoke(database: Database, name: str, by: str, now: float) -> None:
    """Let someone use the console no longer, from their next request on.

    Raises
    ------
    PeopleError
        When there is no such person.
    """
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        gone = sa.update(PEOPLE).where(PEOPLE.c.name == name, PEOPLE.c.revoked_at.is_(None))
        if not connection.execute(gone.values(revoked_at=now)).rowcount:
            raise PeopleError(f"{name!r} is no one who may use the console: scripts/console_users.py list")
        ledger.append(connection, by, "revoke person", NO_MODEL, {"person": name, "why": ""}, now)


def everyone(connection: sa.Connection) -> Sequence[Person]:
    """Return all people, those who may no longer included, by name."""
    return [_person(row) for row in connection.execute(sa.select(PEOPLE).order_by(PEOPLE.c.name))]


def find(connection: sa.Connection, name: str) -> Person | None:
    """Return the person of that name who may use the console; None where there is none."""
    row = connection.execute(sa.select(PEOPLE).where(PEOPLE.c.name == name, PEOPLE.c.revoked_at.is_(None))).first()
    return None if row is None else _person(row)


def check(connection: sa.Connection, token: str) -> Person | None:
    """Return whose a token is; None where it is no one's. Either takes as long."""
    name = token.partition("~")[0]
    row = connection.execute(sa.select(PEOPLE).where(PEOPLE.c.name == name[:64])).first() if "\0" not in name else None
    with contextlib.suppress(Argon2Error, InvalidHashError):
        _HASHER.verify(_of_no_one() if row is None else row.hash, token)
        if row is not None and row.revoked_at is None:
            return _person(row)
    return None


def sign_out(database: Database, name: str, now: float) -> None:
    """Void all sessions of a person that began before now."""
    with database.writing() as connection:
        connection.execute(sa.update(PEOPLE).where(PEOPLE.c.name == name).values(signed_out_at=now))


def ensure_first(database: Database, settings: Settings, now: float) -> str:
    """Let the token in the state folder be that of a person with all rights, unless there is a person of that name.

    Returns
    -------
    str
        What to do where the token is no one's; else nothing.
    """
    token, path = console_token(settings)
    name = token.partition("~")[0]
    with database.reading() as connection:
        there = connection.execute(sa.select(PEOPLE.c.name).where(PEOPLE.c.name == name)).first() is not None
        if there and check(connection, token) is not None:
            return ""
    if there or not _put(database, name, ROLES[-1], token, "start", now, only_new=True):
        return (
            f"the token in {path} is not {name}'s: who revoked {name}, gave another token, or uses the database from "
            f"another server, decides. A new token: python scripts/console_users.py add {name} --role {ROLES[-1]}"
        )
    return ""


@functools.cache
def _of_no_one() -> str:
    return _HASHER.hash(secrets.token_urlsafe(32))


def _put(database: Database, name: str, role: str, token: str, by: str, now: float, only_new: bool = False) -> bool:
    """Write a person, with the row of the ledger; return whether that was done."""
    if not NAME.fullmatch(name):
        raise PeopleError(f"{name!r}: expected a name of a letter, then up to 39 of a-z, 0-9, '.', '_' or '-'")
    if role not in ROLES:
        raise PeopleError(f"{role!r} is no role; expected one of {', '.join(ROLES)}")
    values: dict[str, Any] = {"role": role, "hash": _HASHER.hash(token), "added_at": now, "added_by": by[:64]}
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        if only_new and connection.execute(sa.select(PEOPLE.c.name).where(PEOPLE.c.name == name)).first() is not None:
            return False
        row = values | {"name": name, "revoked_at": None, "signed_out_at": now}
        database.put(connection, PEOPLE, [row])
        ledger.append(connection, by, "add person", NO_MODEL, {"person": name, "role": role, "why": ""}, now)
    return True


def _person(row: sa.Row[Any]) -> Person:
    return Person(**{name: value for name, value in row._mapping.items() if name != "hash"})
