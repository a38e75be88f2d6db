"""Household budgets: transactions put into categories, odd ones found, the month's end forecast."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Discriminator, Field, Tag
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from marina.products.budget_alerts import send_alerts
from marina.products.context import Context, call_of, context_of, reply
from marina.products.errors import ProductError
from marina.products.flags.outcomes import Outcome, item_of
from marina.products.model_server import Call
from marina.products.recommendations import recommend
from marina.products.rule_answers import MODEL as CATEGORIZER
from marina.products.schemas import Amount, Body, Name, Reply, Text, Transaction, UserId
from marina.products.user_settings import add_recommendations, read

AT_ONCE = 1000

router = APIRouter(tags=["budget"])


class Transactions(Body):
    """Several bookings."""

    transactions: Annotated[list[Transaction], Field(min_length=1, max_length=AT_ONCE)]


class Categorized(BaseModel):
    """What one transaction was for, and who says so."""

    label: str | None
    probability: float
    source: str
    why: str
    rule: str | None
    operation: str
    merchant: str | None
    request_id: str
    instance: int


class CategorizedReply(Reply):
    """A category for each transaction, in their order."""

    transactions: list[Categorized]


def _how_many(given: Any) -> str:
    many = "transactions" in given if isinstance(given, dict) else isinstance(given, Transactions)
    return "many" if many else "one"


OneOrMany = Annotated[
    Annotated[Transaction, Tag("one")] | Annotated[Transactions, Tag("many")], Discriminator(_how_many)
]


@router.post("/transactions/categorize", responses={200: {"model": CategorizedReply}})
async def categorize(request: Request, body: OneOrMany) -> Response:
    """Say what one transaction, or each of several, was for.

    `source` says who answers: ``rule``, ``model``, or ``fallback`` where neither is sure (not to be relied on). Rules
    answer without a model. `request_id` and `instance` are what feedback names.
    """
    context = context_of(request)
    asked = body.transactions if isinstance(body, Transactions) else [body]
    call = call_of(request, asked[0].user or "")
    rules = await run_in_threadpool(context.rules.look) if context.rules.due else context.rules.rules
    use_rules = call.flag(context.flags, "auto_categorization_rules")
    use_model = call.flag(context.flags, "ml_categorization")
    arm = context.flags.draw("ml_categorization", call.key, alone=call.key == call.request_id)
    answers: list[dict[str, Any] | None] = [None] * len(asked)
    if rules is not None:
        answers = list(rules.answer(asked))
        call.models[CATEGORIZER] = {"version": rules.version, "cache": "rules", "prediction_id": call.request_id}
    rest = [at for at, one in enumerate(answers) if one is None or one["source"] != "rule" or not use_rules]
    rule_ids = [{"request_id": call.request_id, "instance": at} for at in range(len(asked))]
    said: dict[int, dict[str, Any]] = {}
    if rest and use_model:
        try:
            said = await _ask(context, call, [asked[at] for at in rest], rest, answers)
        except ProductError as error:
            if arm:
                for at in range(len(asked)):
                    context.outcomes.add(Outcome(arm, f"{call.request_id}@{at}", time.time(), error.status >= 500))
            raise
    elif rest and rules is None:
        raise ProductError(503, "no_rules", "No categorizer is declared, so there are no rules yet. Try again in 2 s.")
    elif rest and not use_rules:
        raise ProductError(403, "flag_off", "auto_categorization_rules and ml_categorization are off: switch one on.")
    full = []
    for at, one in enumerate(answers):
        if at in said:
            full.append(said[at])
            continue
        assert one is not None
        why = one["why"] if one["source"] == "rule" or use_model else f"{one['why']}; ml_categorization is off"
        full.append({**one, **rule_ids[at], "why": why})
    for at, one in enumerate(full):
        failed = one.pop("failed", False)
        if arm:
            # An answer from a cache is an outcome of its own, which no feedback names.
            own = one["request_id"] == call.request_id
            item = item_of(one["source"], call.request_id, one["instance"]) if own else f"{call.request_id}@{at}"
            context.outcomes.add(Outcome(arm, item, time.time(), failed))
    return reply(call, {"transactions": full})


async def _ask(
    context: Context, call: Call, asked: list[Transaction], places: list[int], answers: list[dict[str, Any] | None]
) -> dict[int, dict[str, Any]]:
    """Have the model answer for the places that no rule is sure of; where it cannot, what rules say is the fallback."""
    question = {"instances": [one.sent() for one in asked]}
    try:
        answer = await context.server.ask(call, CATEGORIZER, question)
    except ProductError as error:
        if error.status < 500 and error.status != 429:
            raise
        if any(answers[at] is None for at in places):
            raise
        fallback = {}
        for at in places:
            one = answers[at]
            assert one is not None
            why = f"{one['why']}; the model cannot answer ({error.code})"
            fallback[at] = {**one, "source": "fallback", "why": why, "failed": True}
            fallback[at] |= {"request_id": call.request_id, "instance": at}
        return fallback
    return {
        at: {**one, "request_id": answer.request_id, "instance": index}
        for index, (at, one) in enumerate(zip(places, answer.body["predictions"], strict=True))
    }


class Thresholds(Body):
    """From which scores on a transaction is reported."""

    suspicious: Annotated[float, Field(ge=0, le=1)]
    anomalous: Annotated[float, Field(ge=0, le=1)]


class Odd(Body):
    """Transactions of one user, and those before them."""

    transactions: Annotated[list[Transaction], Field(min_length=1, max_length=100)]
    history: Annotated[list[Transaction], Field(max_length=500, default_factory=list)]
    user: UserId | None = None
    """Whose thresholds hold, where the user has set some."""

    thresholds: Thresholds | None = None
    """Others, for this request."""


class OddReply(Reply):
    """A verdict for each transaction."""

    transactions: list[dict[str, Any]]
    reported: int
    thresholds: dict[str, float]


@router.post("/ml/anomaly/detect", responses={200: {"model": OddReply}})
async def detect(request: Request, body: Odd) -> Response:
    """Say which of a user's transactions are odd, and why.

    The thresholds are the request's, else the user's own, else the model's.
    """
    context = context_of(request)
    call = call_of(request, body.user or "")
    context.require(call, "anomaly_detection")
    own: dict[str, float] = {}
    if body.thresholds is not None:
        own = body.thresholds.model_dump()
    elif body.user is not None:
        own = (await run_in_threadpool(read, context.database, body.user)).thresholds
    question: dict[str, Any] = {
        "transactions": [_without_owner(one) for one in body.transactions],
        "history": [_without_owner(one) for one in body.history],
    }
    if len(own) == 2:
        question["thresholds"] = own
    answer = await context.server.ask(call, "budget_anomaly", question)
    found = answer.body["predictions"]
    rows = [{**one, "request_id": answer.request_id, "row": row} for row, one in enumerate(found["transactions"])]
    return reply(call, {**found, "transactions": rows, **_warnings(answer.body)})


class Category(Body):
    """One category's months."""

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    months: Annotated[list[Amount], Field(min_length=1, max_length=60)]
    """Totals of the months before, the oldest first; spending is positive."""

    spent: Amount
    """So far this month."""

    by_now: Annotated[list[Amount | None], Field(max_length=60)] | None = None
    budget: Amount | None = None


class Booked(Body):
    """A booking with its category."""

    category: Annotated[Text, Field(min_length=1, max_length=200)]
    label: Annotated[Text, Field(max_length=4096)] | None = None
    amount: Amount
    date: Annotated[str, Field(max_length=64)]
    account: Name | None = None


class Month(Body):
    """A household's month so far."""

    month: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
    day: Annotated[int, Field(ge=0, le=31)]
    categories: Annotated[list[Category], Field(min_length=1, max_length=40)]
    transactions: Annotated[list[Booked], Field(max_length=1000)] | None = None
    user: UserId | None = None
    """Whose recommendations these are; without one nothing is kept and no alert is sent."""


class MonthReply(Reply):
    """The month's end, what stands out, and what to do about it."""

    forecast: dict[str, Any]
    findings: list[dict[str, Any]]
    recommendations: list[dict[str, Any]]
    alerts: list[dict[str, Any]]


@router.post("/ml/budget/analyze", responses={200: {"model": MonthReply}})
async def analyze(request: Request, body: Month) -> Response:
    """Forecast the month's end per category; findings, and recommendations in French and English.

    A user's alerts go out once for each category and month that a channel took, to those that the user has set.
    """
    context = context_of(request)
    call = call_of(request, body.user or "")
    context.require(call, "budget_predictions")
    question = body.model_dump(exclude={"user"}, exclude_none=True)
    for sent, given in zip(question["categories"], body.categories, strict=True):
        if given.by_now is not None:
            sent["by_now"] = given.by_now  # null says that a month is not known
    answer = await context.server.ask(call, "budget_forecast", question)
    forecast = dict(answer.body["predictions"])
    findings = forecast.pop("findings", [])
    made = []
    if call.flag(context.flags, "smart_recommendations"):
        phrased = [recommend(body.user or call.request_id, body.month, one) for one in findings]
        made = [one for one in phrased if one is not None]
    alerts: list[dict[str, Any]] = []
    if body.user is not None and (made or findings):
        user = body.user
        await run_in_threadpool(add_recommendations, context.database, user, answer.request_id, made)
        if call.flag(context.flags, "predictive_alerts"):
            hosts = context.settings.user_alert_hosts
            alerts = await run_in_threadpool(send_alerts, context.database, hosts, user, body.month, made, time.time())
    said = {
        "forecast": forecast,
        "findings": findings,
        "recommendations": [one.to_dict() for one in made],
        "alerts": alerts,
        **_warnings(answer.body),
    }
    return reply(call, said)


def _without_owner(one: Transaction) -> dict[str, Any]:
    return {name: value for name, value in one.sent().items() if name in ("label", "amount", "date")}


def _warnings(body: dict[str, Any]) -> dict[str, Any]:
    return {"warnings": body["warnings"]} if body.get("warnings") else {}
