"""Conditional promotion: a new version is released if a metric says it is good, and better than what serves.

The metric is the one that training measured on held-out data and the registry keeps. It decides whether a rollout is
begun; whether that rollout succeeds is decided by users' requests, as always.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass

from archives.registry import Registered, Registry
from events.database import Database
from rollout import candidates, ledger, rollouts
from rollout.policy import Policy
from settings import Settings


class PromotionError(RuntimeError):
    """Nothing can be decided; the message says what is missing and where to get it."""


@dataclass(frozen=True)
class Rule:
    """What a version must reach.

    Attributes
    ----------
    metric
        Name of the metric, as training logs it.
    bound
        It must be at least this, or at most this where less is better; and better than the serving version's.
    less_is_better
        As with errors in units of what is forecast.
    """

    metric: str = "weighted_f1"
    bound: float = 0.75
    less_is_better: bool = False


@dataclass(frozen=True)
class Decision:
    """Whether to promote a version, and why.

    Attributes
    ----------
    promoted
        False means archived: it stays in the registry and gets no traffic.
    reason
        In a sentence.
    details
        The numbers it was made on, for the ledger.
    """

    promoted: bool
    reason: str
    details: Mapping[str, str | float]


def decide(rule: Rule, candidate: Registered, champion: Registered) -> Decision:
    """Compare a version with a bound and with the version that serves.

    Raises
    ------
    PromotionError
        If either has no such metric.
    """
    new, old = _value(rule, candidate), _value(rule, champion)
    better, asked = (operator.lt, "at most") if rule.less_is_better else (operator.gt, "at least")
    details: dict[str, str | float] = {
        "version": candidate.version, "metric": rule.metric, "value": new, "bound": rule.bound,
        "champion": champion.version, "champion_value": old,
    }  # fmt: skip
    measured = f"{rule.metric} of {candidate.version} is {new:.4g}"
    if better(rule.bound, new):
        return Decision(False, f"{measured}, {asked} {rule.bound:.4g} is asked", details)
    than = f"{old:.4g} of {champion.version}, which serves{_caveat(candidate, champion)}"
    if not better(new, old):
        return Decision(False, f"{measured}, not better than {than}", details)
    return Decision(True, f"{measured}: {asked} {rule.bound:.4g}, and better than {than}", details)


def promote(
    database: Database,
    settings: Settings,
    model: str,
    version: str,
    rule: Rule,
    policy: Policy,
    who: str,
    now: float,
) -> Decision:
    """Decide on a registered version; begin its rollout, or archive it.

    Decision and reason are written to the ledger and, as tags ``marina.decision`` and ``marina.decision.reason``, on
    the version in MLflow.

    Parameters
    ----------
    database
        What serves.
    settings
        Where registry and store are; an archive that is not in the store is brought from the registry.
    model, version
        Of the candidate.
    rule
        What it must reach.
    policy
        How it is rolled out.
    who
        Who asks.
    now
        Seconds since 1970.

    Raises
    ------
    PromotionError
        If the candidate serves already, or it or the serving version is not registered or lacks the metric.
    rollout.rollouts.RolloutError
        If the model is not served or is being rolled out, or the store holds another archive of that version.
    archives.contract.ArchiveError, archives.registry.RegistryError
        If the archive does not verify.
    """
    registry = Registry(settings.state_dir)
    with database.reading() as connection:
        stable = rollouts.stable_of(connection, model)
    if version == stable:
        raise PromotionError(f"{model} {version} is what is served already.")
    candidate, champion = _registered(registry, model, version), _registered(registry, model, stable)
    decision = decide(rule, candidate, champion)
    if decision.promoted:
        found = candidates.find(settings, model, version, sha256=candidate.sha256)
        with database.writing() as connection:
            rollouts.start(connection, found, policy, who, now, why=decision.reason)
    else:
        with database.writing() as connection:
            ledger.append(connection, who, "archive", model, {**decision.details, "why": decision.reason}, now)
    outcome = "promoted" if decision.promoted else "archived"
    registry.note(candidate, {"marina.decision": outcome, "marina.decision.reason": decision.reason})
    return decision


def _value(rule: Rule, one: Registered) -> float:
    if rule.metric not in one.metrics:
        raise PromotionError(
            f"{one.model} {one.version} has no metric {rule.metric!r}. "
            f"Name one of: {', '.join(sorted(one.metrics)) or 'none was logged'}"
        )
    return float(one.metrics[rule.metric])


def _caveat(candidate: Registered, champion: Registered) -> str:
    data = "data_manifest_sha256"
    return "" if candidate.tags.get(data) == champion.tags.get(data) else " and was measured on other data"


def _registered(registry: Registry, model: str, version: str) -> Registered:
    found = registry.find(model, version)
    if found is None:
        raise PromotionError(
            f"{model} {version} is not registered, so its metrics are not known. "
            "scripts/train.py registers what it builds; MLFLOW_TRACKING_URI says where to look."
        )
    return found
