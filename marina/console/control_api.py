"""The control API: what the pages do, for programs. Each call has the bearer token of a person, who is in the ledger.

Described in ``/console/openapi.json``.
"""

import dataclasses
import secrets
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from marina.console import alert_view, overview
from marina.console.access import LONGEST_REASON, Access, Number
from marina.console.alert_view import PAGE
from marina.console.decisions import ORDERS, Decisions
from marina.console.errors import RefusedError, forbidden
from marina.console.figures import Figures
from marina.console.people import Person
from marina.monitoring import requested_trainings

Model = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Why = Annotated[str, Field(min_length=1, max_length=LONGEST_REASON, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]


class Said(BaseModel):
    """What an error says."""

    code: str
    message: str
    request_id: str


class Error(BaseModel):
    """Every error has this form."""

    error: Said


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Retrain(_Asked):
    """Asks for a training of a model's family at the loop's next look."""

    model: Model
    reason: Why


class RollBack(_Asked):
    """Asks for the version before, or for a named one that served."""

    model: Model
    reason: Why
    to: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")] | None = None


class Note(_Asked):
    """Says why; for an acknowledgement it may be empty."""

    note: Annotated[str, Field(max_length=LONGEST_REASON, pattern=r"^[^\x00]*$")] = ""


class Decision(_Asked):
    """Says what is to be done about an alert."""

    action: Literal["retrain", "nothing", "adjust", "roll_back"]
    reason: Why


class Reason(_Asked):
    """Says why."""

    reason: Why


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (400, 401, 403, 404, 409, 413, 422, 429, 503)
}


def router(access: Access, decisions: Decisions, figures: Figures) -> APIRouter:
    """Return the API's addresses."""
    routes = APIRouter(prefix="/api", responses=ERRORS, tags=["control"])
    viewer, operator = Depends(access.api("viewer")), Depends(access.api("operator"))

    @routes.post("/trigger-retrain", status_code=202)
    def trigger_retrain(
        asked: Retrain,
        person: Annotated[Person, operator],
        idempotency_key: Annotated[str | None, Header(max_length=64, pattern=r"^[!-~]+$")] = None,
    ) -> dict[str, int | str]:
        """Ask for a training. The same Idempotency-Key asks once."""
        number = decisions.retrain(person, asked.model, asked.reason, idempotency_key or secrets.token_urlsafe(16))
        return {"request": number, "model": asked.model}

    @routes.get("/trigger-retrain/{request}")
    def asked_training(request: Number, person: Annotated[Person, viewer]) -> dict[str, Any]:
        """Say what came of a training that was asked for, here or by a decision about an alert."""
        with access.database.reading() as connection:
            found = requested_trainings.of_alert(connection, request, time.time())
        if found is None:
            raise RefusedError(404, "no_training", f"No training was asked for by {request}.")
        return dataclasses.asdict(found)

    @routes.post("/rollback-model", status_code=202)
    def rollback_model(asked: RollBack, person: Annotated[Person, operator]) -> dict[str, int | str]:
        """Return a model to the version before."""
        one = decisions.roll_back(person, asked.model, asked.reason, asked.to)
        return {"rollout": one.id, "model": one.model, "phase": one.phase, "from": one.stable, "canary": one.canary}

    @routes.get("/alerts")
    def list_alerts(
        person: Annotated[Person, viewer],
        state: Literal["open", "all"] = "open",
        model: Annotated[str, Query(max_length=128, pattern=r"^[^\x00]*$")] = "",
        before: Number | None = None,
    ) -> dict[str, Any]:
        """List alerts, the newest first; `before` of an answer is that of the next page."""
        with access.database.reading() as connection:
            found = alert_view.listing(connection, before, model, state)
        return {"alerts": [vars(one) for one in found.alerts], "before": found.before, "page": PAGE}

    @routes.post("/alerts/{alert}/acknowledge")
    def acknowledge(
        alert: Number, person: Annotated[Person, operator], note: Note | None = None
    ) -> dict[str, int | str]:
        """Say that you have seen an alert."""
        decisions.acknowledge(person, alert, note.note if note else "")
        return {"alert": alert, "state": "acknowledged", "by": person.name}

    @routes.post("/alerts/{alert}/decide")
    def decide(alert: Number, asked: Decision, person: Annotated[Person, operator]) -> dict[str, int | str]:
        """Say what is to be done about an alert."""
        decisions.decide(person, alert, asked.action, asked.reason)
        return {"alert": alert, "state": "decided", "decision": asked.action, "by": person.name}

    @routes.post("/rollouts/{model}/{order}")
    def order_rollout(
        model: Annotated[str, Path(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")],
        order: Literal["pause", "resume", "abort", "approve"],
        asked: Reason,
        person: Annotated[Person, operator],
    ) -> dict[str, str]:
        """Pause, resume, abort or approve a model's open rollout; to approve needs the role approver."""
        if not person.may(ORDERS[order]):
            raise forbidden(ORDERS[order], person.role)
        return {"model": model, "order": order, "now": decisions.order(person, model, order, asked.reason)}

    @routes.get("/overview")
    def list_models(
        person: Annotated[Person, viewer], after: Annotated[str, Query(max_length=128, pattern=r"^[^\x00]*$")] = ""
    ) -> dict[str, Any]:
        """List models with what is live, how it does, and what is open; `after` of an answer begins the next page."""
        with access.database.reading() as connection:
            lines, more = overview.read(connection, figures, after)
        return {"models": [line.to_dict() for line in lines], "after": more or None}

    return routes
