"""Code health: risk, anomaly, bugs, impact, and the vote of all, of features or of a repository."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from marina.products.context import Context, call_of, context_of, reply
from marina.products.errors import ProductError
from marina.products.model_server import Call
from marina.products.repeated import Repeatable, allow_repeating
from marina.products.schemas import Body, Reply, Text
from models.code_health.features import READS

AT_ONCE = 256

router = APIRouter(prefix="/ml/code", tags=["code health"])

MODELS = {
    "risk": "code_risk",
    "anomaly": "code_anomaly",
    "bugs": "code_bugs",
    "impact": "code_impact",
    "meta": "code_meta",
    "RiskPredictor": "code_risk",
    "AnomalyDetector": "code_anomaly",
    "BugPredictor": "code_bugs",
    "ImpactAnalyzer": "code_impact",
    "Meta-learner": "code_meta",
}
"""What the products call each model, and what it is called here."""

REPEATABLE = {f"/ml/code/{name}": Repeatable("/ml/code/{model}", model) for name, model in MODELS.items()}

ModelName = Literal[
    "risk", "anomaly", "bugs", "impact", "meta",
    "RiskPredictor", "AnomalyDetector", "BugPredictor", "ImpactAnalyzer", "Meta-learner",
]  # fmt: skip

Features = Annotated[dict[Annotated[str, Field(max_length=64)], float | None], Field(min_length=1, max_length=64)]
RepositoryId = Annotated[Text, Field(min_length=1, max_length=200)]


class Ask(Body):
    """One subject's features, several subjects', or a repository whose features the store has."""

    features: Features | None = None
    instances: Annotated[list[Features], Field(min_length=1, max_length=AT_ONCE)] | None = None
    repo_id: RepositoryId | None = None


class CodeReply(Reply):
    """The model's answer: an object, or a list of them where several were asked for."""

    model: str
    predictions: dict[str, Any] | list[dict[str, Any]]


@router.post("/{model}", responses={200: {"model": CodeReply}})
async def predict(
    request: Request,
    model: ModelName,
    body: Ask,
    explain: Annotated[bool, Query(description="Also what each feature contributes.")] = False,
) -> Response:
    """Answer for features in the request, or for a repository."""
    context, call = context_of(request), call_of(request)
    served = MODELS[model]
    given = [name for name in ("features", "instances", "repo_id") if getattr(body, name) is not None]
    if len(given) != 1:
        raise ProductError(422, "invalid", "body: expected one of features, instances and repo_id", field="body")
    if body.instances is not None:
        question: dict[str, Any] = {"instances": [{"features": one} for one in body.instances]}
    elif body.features is not None:
        question = {"features": body.features}
    else:
        assert body.repo_id is not None
        question = {"features": await _of_repository(context, call, body.repo_id, served)}
    answer = await context.server.ask(call, served, question, "explanations" if explain else "predictions")
    body_said = answer.body
    said = {"model": model, "model_version": answer.version, "predictions": body_said["predictions"]}
    said |= {name: body_said[name] for name in ("explanations", "warnings") if name in body_said}
    if body.repo_id is not None:
        said["features"] = question["features"]  # which may change
    else:
        allow_repeating(request, call)
    return reply(call, said)


async def _of_repository(context: Context, call: Call, repository: str, served: str) -> dict[str, float | None]:
    del call
    found = await context.features.find(repository, READS[served])
    if found is None:
        message = (
            f"Nothing is known of that repository. Write its features to the store "
            f"(scripts/extract_code_features.py), or send them as features: {', '.join(READS[served][:3])}, …"
        )
        raise ProductError(404, "unknown_repository", message)
    return dict(found)
