"""A console in this process, and people who use it as a browser without scripts does."""

import re
import time
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import anyio
import httpx
import sqlalchemy as sa
from pydantic import SecretStr

from marina.console import people
from marina.console.app import application
from marina.database.connection import Database
from marina.database.tables import LEDGER
from marina.monitoring import alerts
from marina.monitoring.alerts import Finding
from marina.releases.heads import open_database
from marina.settings import Settings
from tests.databases import sqlite_with_tables
from tests.marina.rollout import releases

HOST = "http://localhost:8080"


class Browser:
    """One person's browser: keeps cookies, follows no redirects, and sends the forms that it finds."""

    def __init__(self, app: Any, address: str = "10.0.0.1") -> None:
        self._app = app
        self.cookies = httpx.Cookies()
        self._address = address

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
        """Send one request."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url=HOST, cookies=self.cookies) as client:
                answer = await client.request(
                    method, path, headers={"x-real-ip": self._address, **(headers or {})}, **more
                )
                self.cookies = client.cookies
                return answer

        return anyio.run(ask)

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Load a page."""
        return self.request("GET", path, **more)

    def sign_in(self, token: str) -> httpx.Response:
        """Sign in."""
        return self.request("POST", "/console/sign-in", data={"token": token})

    def token(self, page: str, action: str) -> str:
        """Return the token of the form of a page that is sent to an address."""
        text = self.get(page).text
        found = re.search(
            rf'action="{re.escape(action)}"[^>]*>\s*<input type="hidden" name="csrf" value="([^"]+)"', text
        )
        assert found, f"{page} has no form for {action}"
        return unescape(found[1])

    def form_token(self, action: str) -> str:
        """Return the token of a form that is sent to an address, whether or not a page shows one now."""
        sessions = self._app.state.context.access.sessions
        return str(sessions.form_token(sessions.read(self.cookies["marina_console"]), action))

    def submit(self, page: str, where: str, /, **fields: str) -> httpx.Response:
        """Fill a form of a page and send it."""
        return self.request("POST", where, data={"csrf": self.token(page, where), **fields})


class Console:
    """A console with a served model, an open rollout, an open alert, and a person of each role."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.settings = Settings(
            state_dir=folder,
            archive_store=folder / "store",
            database_url=SecretStr(url or sqlite_with_tables(folder)),
            console_attempts=5,
            unsigned="allow",
        )
        self.settings.archive_store.mkdir()
        self.database: Database = open_database(self.settings)
        if url:
            self.database.upgrade()
        releases.serve(self.database)
        releases.begin(self.database, approvals=2)
        self.tokens = {role: people.add(self.database, f"{role}-one", role, "test", 1.0) for role in people.ROLES}
        self.app = application(self.database, self.settings)
        self.alert = alerts.open_alert(self.database, finding(), time.time())

    def browser(self, role: str | None = None, address: str = "10.0.0.1") -> Browser:
        """Return the browser of someone who has signed in; None: of a stranger."""
        made = Browser(self.app, address)
        if role is not None:
            assert made.sign_in(self.tokens[role]).status_code == 303
        return made

    def rows(self) -> list[Any]:
        """Return the ledger."""
        with self.database.reading() as connection:
            return list(connection.execute(sa.select(LEDGER).order_by(LEDGER.c.seq)))


def finding(**changes: Any) -> Finding:
    """Return a drift alarm of the served model."""
    values = {
        "model": "sums", "version": "1.0", "kind": "drift", "name": "drift", "level": "alert",
        "what": "length: more than 9 moved from 1 % to 8 %", "since": time.time() - 7200, "effect": 0.25,
        "evidence": 12.0, "needed": 9.0, "harm": "2 points of accuracy, estimated", "link": "",
    }  # fmt: skip
    return Finding(**{**values, **changes})
