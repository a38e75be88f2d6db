"""Who asks, and whether they may: cookies and forms of pages, bearer tokens of the control API.

A cookie opens pages only, a bearer token the API only: what a browser adds by itself can do nothing without a form of
ours. What another site sends is refused by its origin before anything else.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from marina.console import people
from marina.console.attempts import Attempts
from marina.console.errors import RefusedError, forbidden, unauthorized
from marina.console.people import Person
from marina.console.sessions import COOKIE, Session, Sessions
from marina.database.connection import Database
from marina.settings import Settings, console_key

LARGEST_FORM = 512 * 1024
MOST_FIELDS = 64
LONGEST_REASON = 500
KNOWN_S = 60.0
"""A token that was right is not hashed again for so long; that its person may still is looked up each time."""
MOST_KNOWN = 256

Number = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""A number in an address: of a row, as the database has room for, or of how many come before."""


@dataclass(frozen=True)
class Visitor:
    """A person with a session."""

    person: Person
    session: Session


@dataclass(frozen=True)
class Form:
    """A form that a person sent, once all was checked.

    Attributes
    ----------
    key
        What distinguishes this form from every other that was shown.
    """

    person: Person
    session: Session
    fields: Mapping[str, str]
    key: str

    def text(self, name: str, most: int = 200) -> str:
        """Return a field, without space around it.

        Raises
        ------
        RefusedError
            When it is missing, empty, or longer than `most` characters.
        """
        value = self.fields.get(name, "").replace("\r\n", "\n").strip()
        if not value or len(value) > most or "\0" in value:
            raise RefusedError(422, "field", f"{name}: expected a text of 1 to {most} characters, got {len(value)}")
        return value

    @property
    def why(self) -> str:
        """The reason that every decision needs."""
        return self.text("why", LONGEST_REASON)


class Access:
    """What decides who may do what."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.sessions = Sessions(console_key(settings), settings.console_session_hours * 3600)
        self.attempts = Attempts(settings.console_attempts)
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def visitor(self, request: Request) -> Visitor | None:
        """Return who has a session; None where no one has."""
        cookie = request.cookies.get(COOKIE, "")
        session = self.sessions.read(cookie) if cookie else None
        if session is None:
            return None
        with self.database.reading() as connection:
            person = people.find(connection, session.name)
        if person is None or session.began_at < person.signed_out_at:
            return None
        return Visitor(person, session)

    def page(self, role: str = "viewer") -> Callable[[Request], Visitor]:
        """Return what lets a page be seen by those who have a role."""

        def see(request: Request) -> Visitor:
            visitor = self.visitor(request)
            if visitor is None:
                raise unauthorized()
            if not visitor.person.may(role):
                raise forbidden(role, visitor.person.role)
            return visitor

        return see

    def form(self, role: str) -> Callable[[Request], Awaitable[Form]]:
        """Return what reads a form from those who have a role; nothing is done before all of it was checked."""
        see = self.page(role)

        async def read(request: Request) -> Form:
            check_origin(request)
            visitor = await run_in_threadpool(see, request)
            fields = await read_fields(request)
            key = self.sessions.check_form(visitor.session, request.url.path, fields.get("csrf", ""))
            if key is None:
                text = "This form is not of your session, or too old. Load its page again, and decide again."
                raise RefusedError(403, "form", text)
            return Form(visitor.person, visitor.session, fields, key)

        return read

    def api(self, role: str) -> Callable[[Request], Person]:
        """Return what lets the API be used by those whose token has a role."""

        def ask(request: Request) -> Person:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            person = self.person_of(token.strip(), address_of(request)) if scheme.lower() == "bearer" else None
            if person is None:
                raise unauthorized("Send the header Authorization: Bearer NAME~SECRET.")
            if not person.may(role):
                raise forbidden(role, person.role)
            return person

        return ask

    def person_of(self, token: str, address: str) -> Person | None:
        """Return whose a token is; None where it is no one's.

        Raises
        ------
        RefusedError
            When too many wrong ones came from there.
        """
        digest = hashlib.sha256(token.encode()).hexdigest()
        name, until = self._known.get(digest, ("", 0.0))
        with self.database.reading() as connection:
            if time.monotonic() < until:
                found = people.find(connection, name)
                if found is not None and time.time() - KNOWN_S > found.added_at:  # else it may be another token by now
                    return found
            if wait_s := self.attempts.wait_s(address):
                text = f"Too many wrong tokens came from here. Try again in {wait_s} seconds."
                raise RefusedError(429, "too_many_attempts", text, wait_s)
            person = people.check(connection, token) if 0 < len(token) <= 256 else None
        if person is None:
            self.attempts.count(address)
            return None
        self._known[digest] = person.name, time.monotonic() + KNOWN_S
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return person


def check_origin(request: Request) -> None:
    """Refuse what a page of another site sends."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    if site not in ("same-origin", "none") or (origin and urlsplit(origin).netloc != request.headers.get("host")):
        raise RefusedError(403, "origin", "Forms are not taken from pages of other sites.")


async def read_fields(request: Request) -> dict[str, str]:
    """Read a form's fields."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RefusedError(415, "form", "Send a form as application/x-www-form-urlencoded.")
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        if (size := size + len(part)) > LARGEST_FORM:
            raise RefusedError(413, "too_large", f"A form has at most {LARGEST_FORM} bytes.")
    try:
        text = b"".join(parts).decode()
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"))
    except ValueError:
        raise RefusedError(400, "form", f"A form has at most {MOST_FIELDS} fields, in UTF-8.") from None


def address_of(request: Request) -> str:
    """Return where a request comes from, as the gateway names it."""
    return request.headers.get("x-real-ip", "")[:64] or "here"
