"""What calls return, read from the server's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Prediction:
    """One thing that a model says.

    Attributes
    ----------
    label, probability
        Of a classification; None where the model gives none.
    value
        A score or a regression; None where the model gives none.
    fields
        All that the model said of it, as the page of its family describes.
    """

    label: str | None = None
    probability: float | None = None
    value: float | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(said: Mapping[str, Any]) -> Prediction:
        """Read one prediction."""
        return Prediction(said.get("label"), said.get("probability"), said.get("value"), dict(said))


@dataclass(frozen=True)
class Fault:
    """Why one instance of many has no prediction.

    Attributes
    ----------
    status, code, message
        What a request of that instance alone would have got.
    details
        Further fields: ``field``, ``expected``, ``received``.
    """

    status: int
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a model answered for one instance.

    Attributes
    ----------
    model, version
        Which model and version.
    request_id
        Under which the answer is logged: what `feedback` wants.
    predictions
        The most probable first; one where the model says one thing; none where `fault` says why.
    instance
        The instance's place in the request.
    warnings
        What is possible and unusual in the request: ``field`` and ``message``.
    attributions
        What the model relied on, of an explained answer; None of others.
    fault
        Why there is no prediction.
    raw
        The server's answer as it was, shared by all instances of the request.
    """

    model: str
    version: str
    request_id: str
    predictions: tuple[Prediction, ...]
    instance: int = 0
    warnings: tuple[Mapping[str, Any], ...] = ()
    attributions: Any = None
    fault: Fault | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def top(self) -> Prediction:
        """The first prediction.

        Raises
        ------
        IndexError
            When there is none.
        """
        return self.predictions[0]

    @property
    def label(self) -> str | None:
        """The first prediction's label."""
        return self.top.label

    @property
    def probability(self) -> float | None:
        """The first prediction's probability."""
        return self.top.probability

    @property
    def value(self) -> float | None:
        """The first prediction's value."""
        return self.top.value


def read_answers(said: Mapping[str, Any], count: int | None, model: str, version: str, ident: str) -> list[Answer]:
    """Read a model's answer.

    Parameters
    ----------
    said
        The body.
    count
        How many instances were sent; None: one that was no list.
    model, version, ident
        What stands in the place of what the body does not say.
    """
    by_model = list((said.get("served") or {}).get("models", {}).values())  # where a product asked the model
    if len(by_model) == 1:
        version, ident = by_model[0]["version"], by_model[0]["prediction_id"]
    faults = {one["index"]: one for one in said.get("errors", ()) if isinstance(one, Mapping) and "index" in one}
    answers = []
    for place in range(1 if count is None else count):
        given, because = said["predictions"], said.get("explanations")
        if count is not None:
            given = given[place]
            because = because[place] if isinstance(because, Sequence) else because
        answers.append(
            Answer(
                model=str(said.get("model", model)),
                version=str(said.get("version") or said.get("model_version") or version),
                request_id=str(said.get("request_id") or ident),
                predictions=_predictions(given),
                instance=place,
                warnings=tuple(said.get("warnings", ())),
                attributions=because,
                fault=_fault(faults.get(place)),
                raw=said,
            )
        )
    return answers


def _predictions(given: Any) -> tuple[Prediction, ...]:
    if given is None:
        return ()
    return tuple(map(Prediction.read, given if isinstance(given, list) else [given]))


def _fault(said: Mapping[str, Any] | None) -> Fault | None:
    if said is None:
        return None
    known = ("index", "status", "code", "message")
    more = {name: value for name, value in said.items() if name not in known}
    return Fault(int(said["status"]), str(said["code"]), str(said["message"]), more)


@dataclass(frozen=True)
class Features:
    """What the feature store has of one repository.

    Attributes
    ----------
    repo_id
        Of which.
    groups
        Which groups of features these are.
    values
        By feature; None where it is missing, never 0 for that.
    states
        By feature: ``fresh``, ``stale`` (older than the view allows, and yet there) or ``missing``.
    event_time
        When they were so, in seconds since 1970; None where nothing is known.
    """

    repo_id: str
    groups: tuple[str, ...]
    values: Mapping[str, float | None]
    states: Mapping[str, str]
    event_time: float | None

    @staticmethod
    def read(said: Mapping[str, Any]) -> Features:
        """Read the answer of ``GET /api/features/{repo_id}``."""
        features = said["features"]
        return Features(
            repo_id=str(said["repo_id"]),
            groups=tuple(said["groups"]),
            values={name: one["value"] for name, one in features.items()},
            states={name: one["state"] for name, one in features.items()},
            event_time=said.get("event_time"),
        )


@dataclass(frozen=True)
class Receipt:
    """What happened to labels: one outcome each (docs/LABELS.md), such as ``kept``, ``early`` or ``duplicate``."""

    outcomes: tuple[str, ...]

    @staticmethod
    def read(said: Mapping[str, Any]) -> Receipt:
        """Read the answer of ``POST /feedback``."""
        return Receipt(tuple(map(str, said["outcomes"])))


@dataclass(frozen=True)
class MarketPrediction:
    """One event that the market may bring.

    Attributes
    ----------
    alert_type, horizon
        What, and within which time (``24h``).
    probability, confidence
        From 0 to 1.
    target_time
        When the horizon ends, as ISO 8601.
    severity_estimate
        ``S2``, ``S3`` or None.
    model_version
        Which version says so.
    assets_affected
        Which assets.
    fields
        All that was said of it.
    """

    alert_type: str
    horizon: str
    probability: float
    confidence: float | None
    target_time: str | None
    severity_estimate: str | None
    model_version: str
    assets_affected: tuple[str, ...]
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @staticmethod
    def read(said: Mapping[str, Any]) -> MarketPrediction:
        """Read one prediction of ``GET /api/ml/predict``, or one event of the stream."""
        return MarketPrediction(
            alert_type=str(said["alert_type"]),
            horizon=str(said["horizon"]),
            probability=float(said["probability"]),
            confidence=said.get("confidence"),
            target_time=said.get("target_time"),
            severity_estimate=said.get("severity_estimate"),
            model_version=str(said.get("model_version", "")),
            assets_affected=tuple(said.get("assets_affected") or ()),
            fields=dict(said),
        )


@dataclass(frozen=True)
class Event:
    """One event of a stream.

    Attributes
    ----------
    name
        Its kind; ``message`` where none is named.
    id
        Its number, from which a stream is taken up again.
    data
        What it says.
    """

    name: str
    id: str
    data: Any
