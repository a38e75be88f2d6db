"""Rollouts: a page of them, and one with its evidence and what can be ordered of it."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, Response

from marina.console import rollout_view
from marina.console.access import Form, Number, Visitor
from marina.console.context import Context
from marina.console.decisions import ORDERS
from marina.console.errors import RefusedError, forbidden
from marina.console.live import stream
from marina.console.rendering import see
from marina.rollout import rollouts
from marina.rollout.rollouts import RETREATS


def router(context: Context) -> APIRouter:
    """Return the pages."""
    pages = APIRouter(prefix="/console", include_in_schema=False)
    viewer = Depends(context.access.page())
    operator = Depends(context.access.form("operator"))

    def one(request: Request, visitor: Visitor, number: int, name: str) -> str:
        with context.database.reading() as connection:
            view = rollout_view.read(connection, number, context.figures)
        if view is None:
            raise RefusedError(404, "no_rollout", f"There was no rollout {number}.")
        current = view.rollout
        orders = []
        if current.ended_at is None and current.phase not in RETREATS:
            if current.phase != "shadow":
                orders.append("resume" if current.paused else "pause")
                orders += ["approve"] if current.policy.approvals and view.missing else []
            orders.append("abort")
        return context.pages.text(request, name, visitor, view=view, rollout=current, orders=orders, now=time.time())

    @pages.get("/rollouts")
    def listing(
        request: Request, visitor: Annotated[Visitor, viewer], before: Number | None = None, model: str = ""
    ) -> HTMLResponse:
        with context.database.reading() as connection:
            rows, more = rollout_view.listing(connection, before, model.replace("\0", ""))
        return context.pages.page(request, "rollouts.html", visitor, rows=rows, more=more, model=model)

    @pages.get("/rollouts/{number}")
    def show(request: Request, visitor: Annotated[Visitor, viewer], number: Number) -> HTMLResponse:
        return HTMLResponse(one(request, visitor, number, "rollout.html"))

    @pages.get("/live/rollouts/{number}")
    def live(request: Request, visitor: Annotated[Visitor, viewer], number: Number) -> Response:
        return stream(context, request, visitor, lambda: one(request, visitor, number, "rollout_part.html"))

    @pages.post("/rollouts/{number}/roll-back")
    def roll_back(number: Number, form: Annotated[Form, operator]) -> Response:
        why = form.why
        to = form.fields.get("to", "").strip()[:64] or None
        done = context.decisions.roll_back(form.person, _model(context, number), why, to, number)
        return see(f"/console/rollouts/{done.id}")

    @pages.post("/rollouts/{number}/{order}")
    def order(number: Number, order: str, form: Annotated[Form, operator]) -> Response:
        if order not in ORDERS:
            raise RefusedError(404, "no_order", f"What can be ordered: {', '.join(ORDERS)}.")
        if not form.person.may(ORDERS[order]):
            raise forbidden(ORDERS[order], form.person.role)
        context.decisions.order(form.person, _model(context, number), order, form.why, number)
        return see(f"/console/rollouts/{number}")

    return pages


def _model(context: Context, number: int) -> str:
    with context.database.reading() as connection:
        found = rollouts.rollout(connection, number)
    if found is None:
        raise RefusedError(404, "no_rollout", f"There was no rollout {number}.")
    return found.model
