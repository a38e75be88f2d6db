"""What a user sets, and what people say was true: thresholds, channels, feedback."""

import time
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from marina.database.connection import Database
from marina.database.tables import PREDICTIONS
from marina.products import user_settings
from marina.products.budget_routes import Thresholds
from marina.products.context import call_of, context_of, reply, source_of
from marina.products.errors import ProductError
from marina.products.flags.outcomes import item_of
from marina.products.schemas import Body, Reply, RequestId, Text, UserId

router = APIRouter(tags=["users and feedback"])

OfUser = Annotated[UserId, Path(description="The user, as the product calls them.")]


class ThresholdsReply(Reply):
    """A user's thresholds; null: the model's own."""

    user: str
    suspicious: float | None
    anomalous: float | None


@router.get("/ml/anomaly/thresholds/{user}", responses={200: {"model": ThresholdsReply}})
async def thresholds(request: Request, user: OfUser) -> Response:
    """Return from which scores on a user's transactions are reported."""
    own = await run_in_threadpool(user_settings.read, context_of(request).database, user)
    return reply(call_of(request, user), {"user": user, "suspicious": own.suspicious, "anomalous": own.anomalous})


@router.put("/ml/anomaly/thresholds/{user}", responses={200: {"model": ThresholdsReply}})
async def set_thresholds(request: Request, user: OfUser, body: Thresholds) -> Response:
    """Set them."""
    database = context_of(request).database
    await run_in_threadpool(user_settings.set_thresholds, database, user, body.suspicious, body.anomalous)
    return reply(call_of(request, user), {"user": user, **body.model_dump()})


class Channels(Body):
    """Where a user's alerts go, and in which language."""

    channels: Annotated[list[Annotated[Text, Field(max_length=500)]], Field(max_length=5)]
    """https://… (JSON), slack+https://…, smtp://USER:PASSWORD@HOST:587/?from=A&to=B, as docs/ALERTING_GUIDE.md says."""

    language: Literal["fr", "en"] = "fr"


class ChannelsReply(Reply):
    """How many channels are set; their URLs may hold secrets and are not shown."""

    user: str
    channels: int
    language: str


@router.get("/ml/budget/channels/{user}", responses={200: {"model": ChannelsReply}})
async def channels(request: Request, user: OfUser) -> Response:
    """Return how many channels a user has set."""
    own = await run_in_threadpool(user_settings.read, context_of(request).database, user)
    return reply(call_of(request, user), {"user": user, "channels": len(own.channels), "language": own.language})


@router.put("/ml/budget/channels/{user}", responses={200: {"model": ChannelsReply}})
async def set_channels(request: Request, user: OfUser, body: Channels) -> Response:
    """Set where a user's predictive alerts are sent."""
    context = context_of(request)
    user_settings.check_channels(body.channels, context.settings.user_alert_hosts)
    await run_in_threadpool(user_settings.write_channels, context.database, user, body.channels, body.language)
    return reply(call_of(request, user), {"user": user, "channels": len(body.channels), "language": body.language})


class TransactionTruth(Body):
    """What one transaction was for."""

    request_id: RequestId
    instance: Annotated[int, Field(ge=0, lt=2**31)] = 0
    label: Annotated[Text, Field(min_length=1, max_length=256)]
    source: Literal["rule", "model", "fallback"] = "model"
    """Who answered, as the answer said."""

    predicted: Annotated[Text, Field(max_length=256)] | None = None
    """What the answer said; needed where a rule answered, which no prediction log has."""


class OutcomeReply(Reply):
    """The outcome: recorded, early, duplicate or conflict, as docs/LABELS.md says."""

    outcome: str


@router.post("/transactions/feedback", responses={200: {"model": OutcomeReply}})
async def transaction_feedback(request: Request, body: TransactionTruth) -> Response:
    """Say what a transaction was for; both ids are in its answer."""
    context = context_of(request)
    call = call_of(request)
    if body.source == "rule":
        if body.predicted is None:
            raise ProductError(422, "invalid", "predicted: expected what the rule said", field="predicted")
        outcome = await run_in_threadpool(
            user_settings.add_rule_truth, context.database, body.request_id, body.instance, body.source,
            body.predicted, body.label, source_of(request),
        )  # fmt: skip
        if outcome == "recorded":
            context.outcomes.mark(_item(body), body.predicted == body.label, time.time())
        return reply(call, {"outcome": outcome})
    label: dict[str, Any] = {"request_id": body.request_id, "instance": body.instance, "label": body.label}
    said = await context.server.tell(call, [label])
    if context.flags.guarded and said["outcomes"][0] == "recorded":
        answered = await run_in_threadpool(_answered, context.database, body.request_id, body.instance)
        if answered is not None:
            context.outcomes.mark(_item(body), answered == body.label, time.time())
    return reply(call, {"outcome": said["outcomes"][0]})


def _item(body: TransactionTruth) -> str:
    return item_of(body.source, body.request_id, body.instance)


def _answered(database: Database, request_id: str, instance: int) -> str | None:
    """Return what the prediction log says that an instance was answered; None where it has none."""
    mine = (PREDICTIONS.c.request_id == request_id, PREDICTIONS.c.instance == instance)
    with database.reading() as connection:
        return connection.execute(sa.select(PREDICTIONS.c.label).where(*mine)).scalar()


class AnomalyTruth(Body):
    """Whether one transaction was odd indeed."""

    request_id: RequestId
    row: Annotated[int, Field(ge=0, lt=100)]
    anomalous: bool


@router.post("/ml/anomaly/feedback", responses={200: {"model": OutcomeReply}})
async def anomaly_feedback(request: Request, body: AnomalyTruth) -> Response:
    """Say whether one transaction was odd; both its request's id and its row are in its answer."""
    truth = {"request_id": body.request_id, "truth": {"row": body.row, "anomalous": body.anomalous}}
    call = call_of(request)
    said = await context_of(request).server.tell(call, [truth])
    return reply(call, {"outcome": said["outcomes"][0]})


class Relevance(Body):
    """Whether a recommendation was found relevant."""

    relevant: bool


@router.post("/ml/recommendations/{recommendation}/feedback", responses={200: {"model": OutcomeReply}})
async def recommendation_feedback(
    request: Request, recommendation: Annotated[str, Path(pattern="^[0-9a-f]{32}$")], body: Relevance
) -> Response:
    """Say whether a recommendation was relevant."""
    database = context_of(request).database
    if not await run_in_threadpool(user_settings.judge_recommendation, database, recommendation, body.relevant):
        raise ProductError(404, "unknown_recommendation", "There is no recommendation of that id for a known user.")
    return reply(call_of(request), {"outcome": "recorded"})
