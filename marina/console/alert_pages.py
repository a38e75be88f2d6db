"""Alerts: a page of them, one with its plots and its history, and what people decide about it."""

import time
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, Response

from marina.console import alert_view
from marina.console.access import LONGEST_REASON, Form, Number, Visitor
from marina.console.context import Context
from marina.console.errors import RefusedError
from marina.console.rendering import language, see
from marina.monitoring import alerts, requested_trainings
from marina.monitoring.alerts import DECISIONS


def router(context: Context) -> APIRouter:
    """Return the pages."""
    pages = APIRouter(prefix="/console", include_in_schema=False)
    viewer = Depends(context.access.page())
    operator = Depends(context.access.form("operator"))

    @pages.get("/alerts")
    def listing(
        request: Request,
        visitor: Annotated[Visitor, viewer],
        before: Number | None = None,
        model: str = "",
        state: str = "open",
    ) -> HTMLResponse:
        model = model.replace("\0", "")[:128]
        with context.database.reading() as connection:
            found = alert_view.listing(connection, before, model, state)
        return context.pages.page(
            request, "alerts.html", visitor, found=found, model=model, state=state, now=time.time()
        )

    @pages.get("/alerts/history")
    def history(request: Request, visitor: Annotated[Visitor, viewer], before: Number | None = None) -> HTMLResponse:
        with context.database.reading() as connection:
            rows, more = alert_view.history(connection, before)
        return context.pages.page(request, "alert_history.html", visitor, rows=rows, more=more)

    @pages.get("/alerts/{number}")
    def show(request: Request, visitor: Annotated[Visitor, viewer], number: Number) -> HTMLResponse:
        now = time.time()
        with context.database.reading() as connection:
            one, actions = _read(connection, number)
            shown = context.drift.shown(connection, one.model, now, language(request)) if one.model else {}
            asked = requested_trainings.of_alert(connection, number, now)
        return context.pages.page(
            request, "alert.html", visitor, one=one, actions=actions, asked=asked,
            open=alert_view.can_be_decided(one), of_rule=alert_view.is_of_rule(one), decisions=DECISIONS, now=now,
            **shown,
        )  # fmt: skip

    @pages.get("/alerts/{number}/training")
    def training(request: Request, visitor: Annotated[Visitor, viewer], number: Number) -> HTMLResponse:
        """Say what came of the training that was asked for; a part of the alert's page."""
        with context.database.reading() as connection:
            asked = requested_trainings.of_alert(connection, number, time.time())
        return context.pages.page(request, "training.html", visitor, asked=asked)

    @pages.post("/alerts/{number}/acknowledge")
    def acknowledge(number: Number, form: Annotated[Form, operator]) -> Response:
        note = form.fields.get("why", "").replace("\0", "").strip()[:LONGEST_REASON]
        context.decisions.acknowledge(form.person, number, note)
        return see(f"/console/alerts/{number}")

    @pages.post("/alerts/{number}/decide")
    def decide(number: Number, form: Annotated[Form, operator]) -> Response:
        context.decisions.decide(form.person, number, form.text("action"), form.why)
        return see(f"/console/alerts/{number}")

    return pages


def _read(connection: sa.Connection, number: int) -> tuple[alerts.Alert, list[alerts.Action]]:
    try:
        return alerts.read(connection, number)
    except alerts.AlertError as error:
        raise RefusedError(404, "no_alert", str(error)) from None
