"""The ledger: its rows by key, what was live at a time, its check, and all of it for an audit."""

import datetime
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from archives.errors import MarinaError
from marina.console.access import Number, Visitor
from marina.console.context import Context
from marina.database.tables import LEDGER
from marina.releases import ledger
from marina.releases.heads import Head, Heads, HeadsError, heads_file, ledger_keyring
from marina.releases.ledger import Entry
from marina.rollout.audit import audit

PAGE = 40
SHOWN_APART = ("live", "why")


def router(context: Context) -> APIRouter:
    """Return the pages."""
    pages = APIRouter(prefix="/console", include_in_schema=False)
    viewer = Depends(context.access.page())

    @pages.get("/ledger")
    def listing(
        request: Request,
        visitor: Annotated[Visitor, viewer],
        before: Number | None = None,
        model: str = "",
        at: str = "",
    ) -> HTMLResponse:
        chosen = sa.select(LEDGER).order_by(LEDGER.c.seq.desc()).limit(PAGE + 1)
        chosen = chosen.where(LEDGER.c.seq < before) if before is not None else chosen
        model = model.replace("\0", "")
        chosen = chosen.where(LEDGER.c.model == model) if model else chosen
        when = parse_time(at) if at else None
        with context.database.reading() as connection:
            entries = [Entry(**row._mapping) for row in connection.execute(chosen)]
            live = ledger.live_at(connection, when) if when is not None else {}
        return context.pages.page(
            request, "ledger.html", visitor, entries=entries[:PAGE], when=when, at=at, live=sorted(live.items()),
            more=entries[PAGE - 1].seq if len(entries) > PAGE else None, model=model, said=evidence_of,
        )  # fmt: skip

    @pages.get("/ledger/verify")
    def verify(request: Request, visitor: Annotated[Visitor, viewer]) -> HTMLResponse:
        began = time.monotonic()
        heads: list[Head] = []
        faults: list[str] = []
        try:
            heads = list(Heads(heads_file(context.settings)).read())
        except (HeadsError, OSError) as error:
            faults.append(str(error))
        with context.database.reading() as connection:
            faults += audit(connection, ledger_keyring(context.settings), heads)
            last = next(ledger.entries(connection, newest_first=True), None)
        took_s = time.monotonic() - began
        return context.pages.page(request, "ledger_verify.html", visitor, faults=faults, last=last, took_s=took_s)

    @pages.get("/ledger/export")
    def export(visitor: Annotated[Visitor, viewer]) -> Response:
        def rows() -> Iterator[str]:
            with context.database.reading() as connection:
                for entry in ledger.entries(connection):
                    yield json.dumps(asdict(entry), sort_keys=True) + "\n"

        return StreamingResponse(
            rows(),
            media_type="application/x-ndjson",
            headers={"content-disposition": 'attachment; filename="ledger.jsonl"'},
        )

    return pages


def parse_time(text: str) -> float:
    """Read a time, of UTC where it names no zone.

    Raises
    ------
    MarinaError
        When it is none.
    """
    try:
        when = datetime.datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError):
        raise MarinaError(f"expected a time such as 2026-03-01T12:00, got {text[:40]!r}") from None


def evidence_of(entry: Entry) -> str:
    """Return what else a row says, in a line."""
    return ", ".join(f"{name} {value}" for name, value in entry.said.items() if name not in SHOWN_APART)
