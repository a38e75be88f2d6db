"""What a call sends, and how its answer is read: the same for `Client` and `AsyncClient`, and free of any I/O."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from marina.client.answers import Answer, Features, MarketPrediction, Receipt, read_answers
from marina.client.errors import ArgumentError

URL, TOKEN = "MARINA_URL", "MARINA_TOKEN"
DEFAULT_URL = "http://127.0.0.1:8080"
DEADLINE_S = 30.0
AT_ONCE = 256
"""Instances that one request may hold."""

MODELS: Mapping[str, str] = {
    "RiskPredictor": "code_risk",
    "AnomalyDetector": "code_anomaly",
    "BugPredictor": "code_bugs",
    "ImpactAnalyzer": "code_impact",
    "Meta-learner": "code_meta",
}
"""What the code health product calls each model, and what it is called here. All other names are Marina's own."""

OF_FEATURES = frozenset(MODELS.values())
"""Models whose instances are features by name."""

JSON: Mapping[str, str] = {"Content-Type": "application/json"}

Read = TypeVar("Read")


@dataclass(frozen=True)
class Ask(Generic[Read]):
    """A request that may be sent any number of times, and what reads its answer.

    Attributes
    ----------
    method, path
        Of the request.
    read
        Makes the result of a good answer.
    body
        JSON, written once.
    headers
        Beside those of the client.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], Read]
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def base_url(url: str | None) -> str:
    """Return where the server is: as given, else by `URL`, else on this machine.

    Raises
    ------
    ArgumentError
        When it is no URL.
    """
    found = (url or os.environ.get(URL) or DEFAULT_URL).rstrip("/")
    if not found.startswith(("http://", "https://")):
        raise ArgumentError(f"url: expected http://… or https://…, got {found!r} ({URL} names the server)")
    return found


def headers(token: str | None, user: str | None, session: str | None) -> dict[str, str]:
    """Return the headers of every request of a client."""
    token = token or os.environ.get(TOKEN)
    found = {
        "Authorization": f"Bearer {token}" if token else "",
        "X-User-Id": user or "",
        "X-Session-Id": session or "",
    }
    return {name: value for name, value in found.items() if value} | {"Accept": "application/json"}


def ask_predict(
    model: str,
    features: Mapping[str, Any] | None,
    repo_id: str | None,
    options: Mapping[str, Any],
    explain: bool,
) -> Ask[Answer]:
    """Return the request for one instance."""
    if (features is None) == (repo_id is None):
        raise ArgumentError("predict: expected either features or repo_id")
    if repo_id is not None:
        if MODELS.get(model, model) not in OF_FEATURES:
            raise ArgumentError(f"repo_id: expected one of {', '.join(MODELS)} as the model, got {model!r}")
        name = next(product for product, served in MODELS.items() if model in (product, served))
        body = {"repo_id": repo_id, **options}
        path = f"/ml/code/{quote(name)}" + ("?explain=true" if explain else "")
    else:
        assert features is not None
        body = {**_instance(model, features), **options}
        path = _path(model, explain)
    return _ask_model(path, body, model, lambda answers: answers[0], None)


def ask_many(
    model: str, instances: Sequence[Mapping[str, Any]], options: Mapping[str, Any], partial: bool, first: int
) -> Ask[list[Answer]]:
    """Return the request for up to `AT_ONCE` instances, which are the caller's from `first` on."""
    body = {"instances": [_instance(model, one, place + first) for place, one in enumerate(instances)], **options}
    if partial:
        body["partial"] = True
    return _ask_model(_path(model, False), body, model, lambda answers: answers, len(instances))


def _ask_model(
    path: str, body: Mapping[str, Any], model: str, chosen: Callable[[list[Answer]], Read], count: int | None
) -> Ask[Read]:
    ident = uuid.uuid4().hex

    def read(answer: httpx.Response) -> Read:
        version = answer.headers.get("x-model-version", "")
        return chosen(read_answers(answer.json(), count, model, version, answer.headers.get("x-request-id", ident)))

    return Ask("POST", path, read, write(body), {"X-Request-Id": ident, **JSON})


def chunks(instances: Sequence[Mapping[str, Any]]) -> list[tuple[int, Sequence[Mapping[str, Any]]]]:
    """Divide instances into requests, each with the place of its first."""
    return [(start, instances[start : start + AT_ONCE]) for start in range(0, len(instances), AT_ONCE)]


def ask_feedback(answer: Answer | str, truth: Any, instance: int | None) -> Ask[Receipt]:
    """Return the request that says what is true."""
    if isinstance(answer, Answer):
        ident, place = answer.request_id, answer.instance if instance is None else instance
    else:
        ident, place = answer, instance or 0
    said = {"request_id": ident, "instance": place, "label" if isinstance(truth, str) else "truth": truth}
    return Ask("POST", "/feedback", lambda found: Receipt.read(found.json()), write(said), JSON)


def ask_features(repo_id: str, groups: Sequence[str] | None) -> Ask[Features]:
    """Return the request for what the feature store has."""
    if not repo_id or isinstance(groups, str):
        raise ArgumentError('get_features: expected repo_id="…" and feature_groups=["git", "code"]')
    wanted = f"?groups={quote(','.join(groups))}" if groups else ""
    path = f"/api/features/{quote(repo_id, safe='')}{wanted}"
    return Ask("GET", path, lambda answer: Features.read(answer.json()))


def ask_market(parameters: Mapping[str, Any]) -> Ask[list[MarketPrediction]]:
    """Return the request for what the market may bring."""
    given = {name: value for name, value in parameters.items() if value is not None}
    query = str(httpx.QueryParams(given))

    def read(answer: httpx.Response) -> list[MarketPrediction]:
        return [MarketPrediction.read(one) for one in answer.json()["predictions"]]

    return Ask("GET", f"/api/ml/predict?{query}" if query else "/api/ml/predict", read)


def write(body: Mapping[str, Any]) -> bytes:
    """Write JSON; arrays of numpy are written as lists.

    Raises
    ------
    ArgumentError
        When a value is none of JSON's, such as NaN.
    """
    try:
        return json.dumps(body, allow_nan=False, default=_write_other, separators=(",", ":")).encode()
    except ValueError:
        where = next(_find_nan(body, ""), "the body")
        raise ArgumentError(f"{where}: expected a finite number; send None for what is missing") from None
    except TypeError as error:
        raise ArgumentError(f"expected values of JSON: {error}") from None


def _write_other(value: Any) -> Any:
    if callable(getattr(value, "tolist", None)):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is none")


def _find_nan(value: Any, place: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        yield place
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _find_nan(one, f"{place}.{name}".lstrip("."))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, one in enumerate(value):
            yield from _find_nan(one, f"{place}[{index}]")


def _path(model: str, explain: bool) -> str:
    served = MODELS.get(model, model)
    return f"/{'explanations' if explain else 'predictions'}/{quote(served)}"


def _instance(model: str, given: Mapping[str, Any], place: int | None = None) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        where = "features" if place is None else f"instances[{place}]"
        raise ArgumentError(f"{where}: expected a mapping of names to values, got a {type(given).__name__}")
    if MODELS.get(model, model) in OF_FEATURES and given.keys() != {"features"}:
        return {"features": dict(given)}
    return given
