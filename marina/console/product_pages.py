"""Pages of two products: what was forecast of households' months, and the market's questions as a grid."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, Response

from marina.console.access import Form, Visitor
from marina.console.context import Context
from marina.console.decisions import FORECAST, USER, USER_THRESHOLDS, numbers
from marina.console.errors import RefusedError
from marina.console.plots import Line
from marina.console.rendering import see
from marina.database.tables import DRIFT_REPORTS, PREDICTIONS, ROLLOUTS
from marina.products import user_settings
from marina.rollout.policy.schema import PolicyError, parse_policy
from models.market.alerts import ALERTS, HORIZONS_H

MARKET = "market_alerts"
JUDGED_DAYS = 90
FOUND = ("useful", "not useful")
SHOWN, GIVEN, REPORTS, TESTS = 10, 40, 60, 10


def router(context: Context) -> APIRouter:
    """Return the pages."""
    pages = APIRouter(prefix="/console", include_in_schema=False)
    viewer = Depends(context.access.page())
    annotator = Depends(context.access.form("annotator"))
    operator = Depends(context.access.form("operator"))

    @pages.get("/budget")
    def budget(request: Request, visitor: Annotated[Visitor, viewer]) -> HTMLResponse:
        with context.database.reading() as connection:
            households = [(row, said) for row, said in latest(connection, FORECAST, SHOWN) if isinstance(said, dict)]
            judged = user_settings.count_judged(connection, time.time() - JUDGED_DAYS * 86_400)
            made = user_settings.latest_recommendations(connection, SHOWN)
        return context.pages.page(
            request,
            "budget.html",
            visitor,
            households=households,
            number_of=number_of,
            judged=judged,
            made=made,
            days=JUDGED_DAYS,
        )

    @pages.post("/reviews/thresholds")
    def set_thresholds(form: Annotated[Form, operator]) -> Response:
        """Set a user's own."""
        user, values = form.text("user", 128), numbers(form.fields, USER_THRESHOLDS)
        if not USER.fullmatch(user):
            raise RefusedError(422, "user", "user: expected letters, digits and . _ @ : + -")
        context.decisions.set_user_thresholds(form.person, user, values, form.why)
        return see(f"/console/reviews?user={quote(user)}")

    @pages.post("/budget/recommendations")
    def judge(form: Annotated[Form, annotator]) -> Response:
        """Say what a user found of a recommendation."""
        found = form.text("found")
        if found not in FOUND:
            raise RefusedError(422, "field", f"found: expected one of {', '.join(FOUND)}")
        context.decisions.judge_recommendation(form.person, form.text("recommendation"), found == FOUND[0], form.why)
        return see("/console/budget")

    @pages.get("/market")
    def market(request: Request, visitor: Annotated[Visitor, viewer]) -> HTMLResponse:
        with context.database.reading() as connection:
            answers = [(row, said) for row, said in latest(connection, MARKET, GIVEN) if isinstance(said, list)]
            trend, tests = quality_trend(connection), running_tests(connection, time.time())
        history = [
            (row.time, one)
            for row, said in answers
            for one in said
            if isinstance(one, dict) and one.get("alert") is True
        ]
        return context.pages.page(
            request, "market.html", visitor, grid=grid_of(answers[0][1]) if answers else {}, alerts=ALERTS,
            horizons=HORIZONS_H, newest=answers[0][0] if answers else None, history=history[:GIVEN], trend=trend,
            tests=tests,
        )  # fmt: skip

    return pages


def latest(connection: sa.Connection, model: str, count: int) -> list[tuple[Any, Any]]:
    """Return a model's newest answers, as they were logged and as they read."""
    one = PREDICTIONS.c
    versions = connection.execute(sa.select(one.version).where(one.model == model).distinct()).scalars().all()
    rows: list[Any] = []
    for version in versions:  # by the index of each
        mine = sa.select(one.version, one.time, one.request_id, one.answer).where(one.model == model)
        rows += connection.execute(mine.where(one.version == version).order_by(one.time.desc()).limit(count)).all()
    rows.sort(key=lambda row: -row.time)
    return [(row, json.loads(row.answer)) for row in rows[:count]]


def grid_of(answer: Sequence[Any]) -> Mapping[tuple[str, int], Mapping[str, Any]]:
    """Return one answer's questions by alert and horizon."""
    return {
        (str(one.get("alert_type")), int(one.get("horizon_h") or 0)): one for one in answer if isinstance(one, dict)
    }


def quality_trend(connection: sa.Connection) -> list[Line]:
    """Return the market's loss of quality by report: shares of points lost."""
    one = DRIFT_REPORTS.c
    chosen = sa.select(one.created_at, one.performance_drift_score).where(one.model == MARKET)
    rows = connection.execute(chosen.order_by(one.created_at.desc()).limit(REPORTS)).all()
    points = [(row.created_at, row.performance_drift_score) for row in reversed(rows)]
    known = [(when, value) for when, value in points if value is not None]
    return [Line("performance", known)] if known else []


def running_tests(connection: sa.Connection, now: float) -> list[tuple[int, str, str, str, float, float]]:
    """Return open A/B tests: rollout, model, versions, and the hours that they have run, and may run."""
    one = ROLLOUTS.c
    found = []
    columns = (one.id, one.model, one.stable, one.canary, one.started_at, one.policy)
    for row in connection.execute(sa.select(*columns).where(one.ended_at.is_(None)).order_by(one.id).limit(TESTS)):
        try:
            test = parse_policy(row.policy).test
        except PolicyError:
            continue
        if test is not None:
            hours = (now - row.started_at) / 3600, test.ends_after_s / 3600
            found.append((row.id, row.model, row.stable, row.canary, *hours))
    return found


def number_of(value: Any) -> float | None:
    """Return a number of an answer; None where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
