"""The market: predictions, features, settings, comparisons of versions, and a stream of alerts."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from marina.monitoring.alerts import AlertError
from marina.products import market_predictions, market_status
from marina.products.context import call_of, context_of, reply
from marina.products.errors import ProductError
from marina.products.market_config import MODEL, AlertType, Horizon, MarketSettings
from marina.products.market_rows import add_window
from marina.products.schemas import Body, Reply, Text

router = APIRouter(prefix="/api/ml", tags=["market"])

Who = Annotated[Text, Field(min_length=1, max_length=128)]
Why = Annotated[Text, Field(min_length=1, max_length=1000)]


class PredictReply(Reply):
    """What is likely to happen."""

    predictions: list[dict[str, Any]]
    model_status: dict[str, Any]
    performance_summary: dict[str, Any]
    generated_at: float
    window: dict[str, Any]


@router.get("/predict", responses={200: {"model": PredictReply}})
async def predict(
    request: Request,
    horizon: Annotated[Horizon | None, Query(description="Only this one; the settings' default where none.")] = None,
    all_horizons: Annotated[bool, Query(description="All four horizons.")] = False,
    alert_type: Annotated[AlertType | None, Query(description="Only this one.")] = None,
    min_probability: Annotated[float, Query(ge=0, le=1, allow_inf_nan=False)] = 0.0,
    include_performance: Annotated[bool, Query(description="Also how good answers were lately.")] = True,
) -> Response:
    """Predict from the current window, the most probable first; each with its severity and what to do."""
    context, call = context_of(request), call_of(request)
    settings = await run_in_threadpool(context.market.read)
    if not settings.enabled:
        raise ProductError(403, "predictions_off", "Predictions are switched off (PUT /api/ml/config, enabled).")
    window = await market_predictions.current(context)
    answer = await market_predictions.ask(context, call, window.body)
    wanted = None if all_horizons else horizon or settings.default_horizon
    predictions = [
        one
        for one in market_predictions.phrase_all(answer, settings)
        if wanted in (None, one["horizon"])
        and alert_type in (None, one["alert_type"])
        and one["probability"] >= min_probability
        and settings.alert_types.get(one["alert_type"], True)
    ]
    status, performance = await run_in_threadpool(market_status.status, context.database, include_performance)
    body = {
        "predictions": predictions,
        "model_status": status,
        "performance_summary": performance,
        "generated_at": time.time(),
        "window": {"id": window.id, "received_at": window.received_at, "time": window.body.get("time")},
        "warnings": answer.body.get("warnings", []),
    }
    return reply(call, body)


class StatusReply(Reply):
    """The model's versions."""

    model_status: dict[str, Any]
    performance_summary: dict[str, Any]
    last_training: dict[str, Any] | None
    trainings_asked_for: dict[str, Any]


@router.get("/models/status", responses={200: {"model": StatusReply}})
async def models_status(request: Request) -> Response:
    """Return which versions serve, how good they were by truths that came, the newest training, and what waits."""
    context = context_of(request)
    status, performance = await run_in_threadpool(market_status.status, context.database)
    last = await run_in_threadpool(market_status.last_training, context.database)
    waiting = await run_in_threadpool(market_status.waiting_trainings, context.database, time.time())
    body = {
        "model_status": status, "performance_summary": performance, "last_training": last,
        "trainings_asked_for": waiting,
    }  # fmt: skip
    return reply(call_of(request), body)


class FeaturesReply(Reply):
    """The features of the current window."""

    features: dict[str, float | None]
    phase: str
    window: dict[str, Any]


@router.get("/features/current", responses={200: {"model": FeaturesReply}})
async def features(request: Request) -> Response:
    """Return the features that the model sees now, and the phase of the market."""
    context, call = context_of(request), call_of(request)
    window = await market_predictions.current(context)
    said = (await market_predictions.ask(context, call, window.body)).body["explanations"]
    where = {"id": window.id, "received_at": window.received_at, "time": window.body.get("time")}
    return reply(call, {"features": said["features"], "phase": said["regime"], "window": where})


class ExplanationReply(Reply):
    """What each feature contributes."""

    alert_type: str
    horizon: str
    probability: float
    attributions: dict[str, float]
    features: dict[str, float | None]
    method: str


@router.get("/explain", responses={200: {"model": ExplanationReply}})
async def explain(request: Request, alert_type: AlertType, horizon: Horizon = "24h") -> Response:
    """Return what each feature adds to one prediction's probability."""
    context, call = context_of(request), call_of(request)
    window = await market_predictions.current(context)
    answer = await market_predictions.ask(context, call, window.body)
    said, label = answer.body["explanations"], f"{alert_type}@{horizon}"
    probability = next(one["probability"] for one in answer.body["predictions"] if one["label"] == label)
    body = {
        "alert_type": alert_type, "horizon": horizon, "probability": probability, "method": said["method"],
        "attributions": said["by_label"][label], "features": said["features"], "model_version": answer.version,
    }  # fmt: skip
    return reply(call, body)


class WindowBody(Body):
    """A week or more of hourly closes, as docs/families/market.md says."""

    prices: Annotated[
        dict[Annotated[Text, Field(max_length=64)], Annotated[list[float | None], Field(max_length=2048)] | None],
        Field(min_length=3, max_length=32),
    ]
    fear_greed: float | None = None
    funding: float | None = None
    sentiment: float | None = None
    confidence: float | None = None
    time: Annotated[Text, Field(max_length=64)] | None = None


class WindowReply(Reply):
    """What the window says, and which alerts it raised."""

    window: str
    predictions: list[dict[str, Any]]
    alerts: list[dict[str, Any]]


@router.post("/features/window", responses={200: {"model": WindowReply}})
async def post_window(request: Request, body: WindowBody) -> Response:
    """Make this the current window. What the model refuses is not kept; alerts go to anyone who listens."""
    context, call = context_of(request), call_of(request)
    sent = body.model_dump(exclude_none=True)
    sent["prices"] = body.prices
    answer = await market_predictions.ask(context, call, sent)
    window = await run_in_threadpool(add_window, context.database, sent)
    predictions, alerts = await market_predictions.publish(context, window, answer)
    return reply(call, {"window": window.id, "predictions": predictions, "alerts": alerts})


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream(
    request: Request, last_event_id: Annotated[str | None, Header(max_length=64)] = None
) -> StreamingResponse:
    """Push predictions and alerts as they come (server-sent events); who comes back gets the alerts it missed."""
    context = context_of(request)
    if not last_event_id:
        return _stream(context.stream.listen())
    after, _, ident = last_event_id.partition(":")
    try:
        last = float(after), ident
    except ValueError:
        raise ProductError(422, "invalid", "Last-Event-ID: expected the id of an event") from None

    return _stream(context.stream.listen(context.feed.after(last)))


def _stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


class Retrain(Body):
    """Who wants a training, and why."""

    who: Who
    why: Why


class RetrainReply(Reply):
    """A training was asked for, under a number; ``waiting``: one that has yet to begin was asked for before."""

    status: Literal["requested", "waiting"]
    model: str
    request: int


@router.post("/models/retrain", status_code=202, responses={202: {"model": RetrainReply}})
async def retrain(request: Request, body: Retrain) -> Response:
    """Ask for a training of the market's model, at the loop's next look; one that waits for it serves all who ask."""
    database = context_of(request).database
    try:
        number, joined = await run_in_threadpool(market_status.ask_training, database, body.who, body.why, time.time())
    except AlertError as error:
        raise ProductError(422, "invalid", f"why: {error}", field="why") from None
    said = {"status": "waiting" if joined else "requested", "model": MODEL, "request": number}
    answer = reply(call_of(request), said)
    answer.status_code = 202
    return answer


class TestsReply(Reply):
    """Comparisons of two versions."""

    ab_tests: list[dict[str, Any]]
    active: int


@router.get("/ab-tests", responses={200: {"model": TestsReply}})
async def ab_tests(request: Request) -> Response:
    """Return the comparisons of a challenger with the baseline, those under way first; tests with what was found."""
    found = await run_in_threadpool(market_status.ab_tests, context_of(request).database, time.time())
    active = sum(one["status"] != "completed" for one in found)
    return reply(call_of(request), {"ab_tests": found, "active": active})


class ConfigReply(Reply):
    """The settings in force."""

    config: MarketSettings


class ConfigChange(Body):
    """Some settings, and who changes them and why."""

    who: Who
    why: Why
    config: Annotated[dict[Annotated[str, Field(max_length=64)], Any], Field(min_length=1)]
    """Fields of the settings; those that are tables by type may name some types only."""


@router.get("/config", responses={200: {"model": ConfigReply}})
async def config(request: Request) -> Response:
    """Return the settings in force."""
    settings = await run_in_threadpool(context_of(request).market.read)
    return reply(call_of(request), {"config": settings.model_dump()})


@router.put("/config", responses={200: {"model": ConfigReply}})
async def set_config(request: Request, body: ConfigChange) -> Response:
    """Change settings while the server runs; each change is a row of the ledger."""
    market = context_of(request).market
    try:
        settings = await run_in_threadpool(market.change, body.config, body.who, body.why)
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        field = ".".join(["config", *map(str, first["loc"])])
        raise ProductError(422, "invalid", f"{field}: {first['msg']}", field=field) from None
    return reply(call_of(request), {"config": settings.model_dump()})
