"""Anomaly review and annotation: one key a verdict, each of them feedback, in the ledger, and undone by another row."""

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, Response

from marina.console import review_queue, skeletons
from marina.console.access import Form, Visitor
from marina.console.context import Context
from marina.console.decisions import USER
from marina.console.errors import RefusedError
from marina.console.rendering import see
from marina.console.review_queue import AGAIN, SOURCE
from marina.console.withdrawals import Verdict, stands, withdraw
from marina.database.tables import LABELS, LEDGER, PREDICTIONS
from marina.events.feedback import REQUEST_ID
from marina.events.labels import LONGEST, Label, record
from marina.events.truths import Sent
from marina.products import user_settings
from marina.releases import ledger

REVIEW, LABEL, UNDO = "review anomaly", "label", "undo label"
LAST = 2_000


class Said(NamedTuple):
    """A verdict as the ledger has it."""

    seq: int
    action: str
    model: str
    details: dict[str, Any]


def router(context: Context) -> APIRouter:
    """Return the pages."""
    pages = APIRouter(prefix="/console", include_in_schema=False)
    viewer = Depends(context.access.page())
    annotator = Depends(context.access.form("annotator"))

    @pages.get("/reviews")
    def reviews(request: Request, visitor: Annotated[Visitor, viewer], user: str = "") -> HTMLResponse:
        own = user_settings.read(context.database, user) if USER.fullmatch(user) else None
        with context.database.reading() as connection:
            models = review_queue.models_of(connection, "rows")
            items = review_queue.anomalies(connection, models, time.time()) if models else []
        return context.pages.page(request, "reviews.html", visitor, items=items, models=models, own=own)

    @pages.post("/reviews")
    def judge(form: Annotated[Form, annotator]) -> Response:
        verdict = form.text("verdict")
        if verdict not in ("anomalous", "normal"):
            raise RefusedError(422, "verdict", "verdict: expected anomalous or normal")
        request_id, instance, row = _key(form)
        truth = Sent("rows", {str(row): verdict == "anomalous"}).text
        label = Label(request_id, "", instance, SOURCE + form.person.name, truth=truth)
        _record(context, form, label, REVIEW, {"row": row, "verdict": verdict})
        return see("/console/reviews")

    @pages.get("/annotation")
    def annotation(request: Request, visitor: Annotated[Visitor, viewer], model: str = "") -> HTMLResponse:
        with context.database.reading() as connection:
            models = review_queue.models_of(connection, "label")
            model = model if model in models else (models[0] if models else "")
            items, both, drawing = [], (0, 0), ""
            if model:
                items = review_queue.uncertain(connection, model, visitor.person.name, time.time())
                both = review_queue.agreement(connection, model)
                kept = review_queue.read_input(connection, items[0]) if items else None
                drawing = skeletons.draw(*kept) if kept else ""
        return context.pages.page(
            request, "annotation.html", visitor, items=items, models=models, model=model, both=both, drawing=drawing
        )

    @pages.post("/annotation")
    def annotate(form: Annotated[Form, annotator]) -> Response:
        request_id, instance, _ = _key(form)
        label = Label(request_id, form.text("label", LONGEST), instance, SOURCE + form.person.name)
        with context.database.reading() as connection:
            standing = connection.execute(
                sa.select(LABELS.c.source).where(LABELS.c.request_id == request_id, LABELS.c.instance == instance)
            ).scalar()
        second = standing is not None and standing != label.source
        model = _record(context, form, label, AGAIN if second else LABEL, {"label": label.label})
        return see(f"/console/annotation?model={model}")

    @pages.post("/annotation/undo")
    def undo(form: Annotated[Form, annotator]) -> Response:
        """Take back the last verdict of the person that still stands."""
        who = form.person.name
        with context.database.reading() as connection:
            standing = (one for one in _verdicts(connection, who) if stands(connection, _verdict(one, who)))
            last = next(standing, None)
        if last is None:
            raise RefusedError(409, "nothing", "There is nothing of yours to undo.")
        seq, action, model, said = last

        def beside(connection: sa.Connection) -> None:
            ledger.append(
                connection, who, UNDO, model, {**said, "undoes": seq, "why": f"undoes row {seq}"}, time.time()
            )

        if not withdraw(context.database, _verdict(last, who), beside):
            raise RefusedError(409, "gone", "It was taken back meanwhile.")
        return see("/console/reviews" if action == REVIEW else f"/console/annotation?model={model}")

    return pages


def _key(form: Form) -> tuple[str, int, int]:
    request_id, _, rest = form.text("item").partition("~")
    instance, _, row = rest.partition("~")
    try:
        found = request_id, int(instance), int(row)
    except ValueError:
        found = "", -1, -1
    if not REQUEST_ID.fullmatch(found[0]) or not 0 <= found[1] < 2**31 or not -1 <= found[2] < 2**31:
        raise RefusedError(422, "item", "item: expected what the page names it")
    return found


def _record(context: Context, form: Form, label: Label, action: str, details: dict[str, Any]) -> str:
    """Keep what someone said, with its row of the ledger; return the model that it is about.

    Raises
    ------
    RefusedError
        When it is not kept; the ledger has no row then.
    """
    mine = (PREDICTIONS.c.request_id == label.request_id, PREDICTIONS.c.instance == label.instance)
    with context.database.reading() as connection:
        answered = connection.execute(sa.select(PREDICTIONS.c.model, PREDICTIONS.c.version).where(*mine)).first()
    if answered is None:
        raise RefusedError(404, "unanswered", "That answer is not in the log any more.")
    kept = ("recorded", "duplicate", "conflict") if action == AGAIN else ("recorded",)

    def beside(connection: sa.Connection, outcomes: list[Any]) -> None:
        if outcomes[0] not in kept:
            words = {
                "duplicate": "You have said that already.",
                "conflict": "Someone has said otherwise, and that stands.",
            }
            raise RefusedError(409, outcomes[0], words.get(outcomes[0], "That can be no label of this answer."))
        about = {"request_id": label.request_id, "instance": label.instance, "version": answered.version}
        why = form.fields.get("why", "").strip()[:500]
        said = {**about, **details, "outcome": outcomes[0], "why": why}
        ledger.append(connection, form.person.name, action, answered.model, said, time.time())

    record(context.database, [label], time.time(), beside=beside)
    return str(answered.model)


def _verdict(said: Said, who: str) -> Verdict:
    about = said.details["request_id"], int(said.details["instance"])
    if said.action == REVIEW:
        return Verdict(*about, str(said.details["row"]), said.details["verdict"] == "anomalous", SOURCE + who)
    return Verdict(*about, None, said.details["label"], SOURCE + who)


def _verdicts(connection: sa.Connection, who: str) -> Iterator[Said]:
    """Return what someone said and did not undo, the newest first."""
    one = LEDGER.c
    chosen = sa.select(one.seq, one.action, one.model, one.details)
    chosen = chosen.where(one.who == who, one.action.in_((REVIEW, LABEL, UNDO))).order_by(one.seq.desc()).limit(LAST)
    undone: set[int] = set()
    for row in connection.execute(chosen):
        said = json.loads(row.details)
        if row.action == UNDO:
            undone.add(int(said["undoes"]))
        elif row.seq not in undone:
            kept = {name: said[name] for name in said if name not in ("live", "why")}
            yield Said(row.seq, row.action, row.model, kept)
