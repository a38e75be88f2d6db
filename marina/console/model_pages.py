"""One model: how far what it is asked has moved, and what people decide about it without an alert."""

import time
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, Response

from marina.console import alert_view
from marina.console.access import Form, Visitor
from marina.console.context import Context
from marina.console.decisions import numbers
from marina.console.rendering import language, see
from marina.monitoring import watch_settings

THRESHOLDS = ("warning", "alert", "critical")


def router(context: Context) -> APIRouter:
    """Return the pages."""
    pages = APIRouter(prefix="/console", include_in_schema=False)
    viewer = Depends(context.access.page())
    operator = Depends(context.access.form("operator"))

    @pages.get("/models/{model}")
    def show_model(
        request: Request,
        visitor: Annotated[Visitor, viewer],
        model: str,
        warning: str = "",
        alert: str = "",
        critical: str = "",
    ) -> HTMLResponse:
        now = time.time()
        tried = numbers({"warning": warning, "alert": alert, "critical": critical}, THRESHOLDS)
        model = model.replace("\0", "")
        with context.database.reading() as connection:
            current = watch_settings.read(connection, context.settings, model)
            chosen = replace(current, **tried)
            counts = [alert_view.would_have_been(connection, model, by, now) for by in (current, chosen)]
            shown = context.drift.shown(connection, model, now, language(request))
        return context.pages.page(
            request, "model.html", visitor, current=current, chosen=chosen, counts=counts, tried=bool(tried),
            levels=("critical", "alert", "warning", "none"), thresholds=THRESHOLDS, **shown,
        )  # fmt: skip

    @pages.get("/models/{model}/weeks")
    def show_weeks(request: Request, visitor: Annotated[Visitor, viewer], model: str) -> HTMLResponse:
        model = model.replace("\0", "")
        with context.database.reading() as connection:
            plots = context.drift.by_week(connection, model, time.time(), language(request))
        return context.pages.page(request, "weeks.html", visitor, model=model, weekly=plots)

    @pages.post("/models/{model}/thresholds")
    def set_thresholds(model: str, form: Annotated[Form, operator]) -> Response:
        context.decisions.set_thresholds(form.person, model, numbers(form.fields, THRESHOLDS), form.why)
        return see(f"/console/models/{model}")

    @pages.post("/models/{model}/retrain")
    def retrain(model: str, form: Annotated[Form, operator]) -> Response:
        number = context.decisions.retrain(form.person, model, form.why, form.key)
        return see(f"/console/alerts/{number}")

    @pages.post("/models/{model}/roll-back")
    def roll_back(model: str, form: Annotated[Form, operator]) -> Response:
        to = form.fields.get("to", "").strip()[:64] or None
        done = context.decisions.roll_back(form.person, model, form.why, to)
        return see(f"/console/rollouts/{done.id}")

    return pages
