"""The first page: every model in a line, kept up to date while it is open."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, Response

from marina.console import overview
from marina.console.access import Visitor
from marina.console.context import Context
from marina.console.live import stream


def router(context: Context) -> APIRouter:
    """Return the page, and its events."""
    pages = APIRouter(prefix="/console", include_in_schema=False)
    viewer = Depends(context.access.page())

    def lines(request: Request, visitor: Visitor, after: str, name: str) -> str:
        with context.database.reading() as connection:
            found, more = overview.read(connection, context.figures, after)
            of_server = overview.open_of_server(connection)
        return context.pages.text(
            request, name, visitor, lines=found, more=more, after=after, of_server=overview.order_levels(of_server),
            order=overview.order_levels, counted_at=context.figures.counted_at, now=time.time(),
        )  # fmt: skip

    @pages.get("")
    def show(request: Request, visitor: Annotated[Visitor, viewer], after: str = "") -> HTMLResponse:
        return HTMLResponse(lines(request, visitor, after, "overview.html"))

    @pages.get("/live/overview")
    def live(request: Request, visitor: Annotated[Visitor, viewer], after: str = "") -> Response:
        return stream(context, request, visitor, lambda: lines(request, visitor, after, "overview_lines.html"))

    return pages
