"""The policy: limits, guarantees and steps of a rollout, read from an annotated YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from archives.errors import MarinaError

DEFAULT = Path(__file__).with_name("default.yaml")

TestMetric = Literal["errors", "latency", "accuracy", "f1"]

METRICS: tuple[TestMetric, ...] = get_args(TestMetric)

Share = Annotated[float, Field(gt=0, lt=1)]


class PolicyError(MarinaError, ValueError):
    """A policy cannot be used; the message names the entry and what was expected."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bounds(_Strict):
    """One gate's bounds: see default.yaml."""

    limit: Share
    accept: Share
    required: bool = True

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        if self.accept <= self.limit:
            raise ValueError(f"accept ({self.accept}) must be above limit ({self.limit}), or no canary could pass both")
        return self


class LatencyBounds(Bounds):
    """The latency gate also has the time beyond stable's p95 from which on an answer is slow."""

    margin_ms: float = Field(gt=0)


class AccuracyBounds(Bounds):
    """The accuracy gate also has the number of labels of stable's answers below which it finds no canary harmless."""

    least_labels: int = Field(default=100, ge=1)


class Gates(_Strict):
    """The bounds of the three gates."""

    errors: Bounds
    latency: LatencyBounds
    accuracy: AccuracyBounds


class TrafficStep(_Strict):
    """A share of the traffic, in thousandths as gateways divide it, and how long it is held at least, in seconds."""

    share: float = Field(ge=0.001, le=1)
    at_least_s: float = Field(ge=0)


class ABTest(_Strict):
    """An A/B test: which of two versions is better by one metric, at the split of the first step."""

    metric: TestMetric
    ends_after_s: float = Field(gt=0)


class Policy(_Strict):
    """Everything the judge and the state machine go by."""

    false_alarm_rate: Share
    false_promotion_rate: Share
    gates: Gates
    steps: tuple[TrafficStep, ...] = Field(min_length=1)
    approvals: int = Field(default=0, ge=0, le=2)
    stuck_after_s: float = Field(default=600.0, gt=0)
    test: ABTest | None = None

    @model_validator(mode="after")
    def _grows(self) -> Policy:
        shares = [step.share for step in self.steps]
        if shares != sorted(set(shares)) or shares[-1] != 1:
            raise ValueError(f"steps: shares must grow and end at 1.0, got {shares}")
        if self.test and len(shares) != 2:
            raise ValueError(f"steps: a test has two, its split and all traffic for the winner, got {shares}")
        return self


def read_policy(path: Path | None = None) -> Policy:
    """Read a policy; None: `DEFAULT`.

    Raises
    ------
    PolicyError
        If the file cannot be read, or an entry is missing, unknown or out of bounds.
    """
    path = path or DEFAULT
    try:
        return Policy.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise PolicyError(f"{path}: {error}") from error
    except ValidationError as error:
        raise PolicyError(f"{path}: {_faults(error)}. {DEFAULT.name} shows a whole policy with comments.") from error


def parse_policy(text: str) -> Policy:
    """Read a policy that was kept as JSON.

    Raises
    ------
    PolicyError
        If an entry is missing, unknown or out of bounds.
    """
    try:
        return Policy.model_validate_json(text)
    except ValidationError as error:
        raise PolicyError(f"A policy that cannot be read back: {_faults(error)}.") from error


def changed(policy: Policy, **values: Any) -> Policy:
    """Return a policy with other values.

    Raises
    ------
    PolicyError
        If the entries no longer go together.
    """
    try:
        return Policy.model_validate({**dict(policy), **values})
    except ValidationError as error:
        raise PolicyError(f"The policy cannot be changed so: {_faults(error)}.") from error


def with_metric(policy: Policy, metric: TestMetric) -> Policy:
    """Return an A/B test that is decided by another metric.

    Raises
    ------
    PolicyError
        If it is no A/B test.
    """
    if policy.test is None:
        raise PolicyError(f"No A/B test has this policy, so nothing is decided by {metric}. Name one: ab_test.yaml.")
    return changed(policy, test=policy.test.model_copy(update={"metric": metric}))


def _faults(error: ValidationError) -> str:
    faults = (".".join(map(str, one["loc"])) + ": " + one["msg"] for one in error.errors())
    return "; ".join(fault.removeprefix(": ") for fault in faults)
