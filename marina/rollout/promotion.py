"""Conditional promotion: a new version is released if a metric says it is good, and better than what serves.

The metric is the one that training measured on held-out data and wrote into the archive, which is signed; what MLflow
says of a version is for people. It decides whether a rollout is begun; whether that rollout succeeds is decided by
users' requests, as always.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from archives.archive import Archive
from archives.errors import MarinaError
from archives.registry import Registered, Registry
from marina.database.connection import Database
from marina.database.tables import DECLARATIONS
from marina.releases import ledger
from marina.rollout import archive_lookup, rollouts
from marina.rollout.policy.schema import Policy
from marina.settings import Settings


class PromotionError(MarinaError):
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
    quick
        Whether a version may be promoted that was trained with ``--quick``.
    slice_bound
        By how much the mean loss of a slice may grow, where losses are no shares; None: ``MARINA_ML_SLICE_BOUND``.
    """

    metric: str = "weighted_f1"
    bound: float = 0.75
    less_is_better: bool = False
    quick: bool = False
    slice_bound: float | None = None


@dataclass(frozen=True)
class PromotionDecision:
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


@dataclass(frozen=True)
class Measured:
    """What an archive says was measured of its version.

    Attributes
    ----------
    metrics
        On held-out data.
    data
        Hash of the manifest of the data.
    quick
        Whether its training spent less than its recipe says.
    """

    model: str
    version: str
    metrics: Mapping[str, float]
    data: str = ""
    quick: bool = False

    @classmethod
    def of(cls, archive: Archive) -> Measured:
        """Read it from an archive that is trusted."""
        origin = archive.json("provenance.json")
        said = origin.get("metrics", {})
        metrics = {name: float(value) for name, value in said.items() if isinstance(value, int | float)}
        data = str(origin.get("data_manifest_sha256", ""))
        quick = bool(origin.get("quick", False))
        return cls(archive.contract.model, archive.contract.version, metrics, data, quick)


def decide(rule: Rule, candidate: Measured, champion: Measured) -> PromotionDecision:
    """Compare a version with a bound and with the version that serves.

    Raises
    ------
    PromotionError
        If either has no such metric, or the candidate was trained with ``--quick`` and the rule does not allow that.
    """
    if candidate.quick and not rule.quick:
        raise PromotionError(
            f"{candidate.model} {candidate.version} was trained with --quick, which spends less than its recipe "
            "says. Train it without, or promote it nevertheless with --allow-quick"
        )
    new, old = _value(rule, candidate), _value(rule, champion)
    better, asked = (operator.lt, "at most") if rule.less_is_better else (operator.gt, "at least")
    details: dict[str, str | float] = {
        "version": candidate.version, "metric": rule.metric, "value": new, "bound": rule.bound,
        "champion": champion.version, "champion_value": old,
    }  # fmt: skip
    measured = f"{rule.metric} of {candidate.version} is {new:.4g}"
    if better(rule.bound, new):
        return PromotionDecision(False, f"{measured}, {asked} {rule.bound:.4g} is required", details)
    than = f"{old:.4g} of {champion.version}, which serves{_caveat(candidate, champion)}"
    if not better(new, old):
        return PromotionDecision(False, f"{measured}, not better than {than}", details)
    return PromotionDecision(True, f"{measured}: {asked} {rule.bound:.4g}, and better than {than}", details)


def promote(
    database: Database,
    settings: Settings,
    model: str,
    version: str,
    rule: Rule,
    policy: Policy,
    who: str,
    now: float,
) -> PromotionDecision:
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
        If the candidate serves already, is not registered, or it or the serving version lacks the metric.
    marina.rollout.rollouts.RolloutError
        If the model is not served or is being rolled out, the store holds another archive of that version, or that of
        the serving version is nowhere to be found.
    archives.contract.ArchiveError, archives.registry.RegistryError
        If an archive does not verify, or no one who is trusted signed it.
    """
    registry = Registry(settings.state_dir)
    with database.reading() as connection:
        stable = rollouts.stable_of(connection, model)
        same = (DECLARATIONS.c.model == model, DECLARATIONS.c.version == stable)
        serving = connection.execute(sa.select(DECLARATIONS.c.sha256).where(*same)).scalar_one()
    if version == stable:
        raise PromotionError(f"{model} {version} is served already.")
    candidate = _find_registered(registry, model, version)
    decision = decide(
        rule,
        Measured.of(archive_lookup.opened(settings, model, version, candidate.sha256)),
        Measured.of(archive_lookup.opened(settings, model, stable, serving)),
    )
    if decision.promoted:
        found = archive_lookup.find(settings, model, version, sha256=candidate.sha256)
        with database.writing(durable=True) as connection:
            rollouts.start(connection, found, policy, who, now, why=decision.reason)
    else:
        with database.writing(durable=True) as connection:
            ledger.append(connection, who, "archive", model, {**decision.details, "why": decision.reason}, now)
    outcome = "promoted" if decision.promoted else "archived"
    registry.note(candidate, {"marina.decision": outcome, "marina.decision.reason": decision.reason})
    return decision


def _value(rule: Rule, one: Measured) -> float:
    if rule.metric not in one.metrics:
        raise PromotionError(
            f"{one.model} {one.version} has no metric {rule.metric!r}. "
            f"Name one of: {', '.join(sorted(one.metrics)) or 'none was logged'}"
        )
    return one.metrics[rule.metric]


def _caveat(candidate: Measured, champion: Measured) -> str:
    return "" if candidate.data == champion.data else " and was measured on other data"


def _find_registered(registry: Registry, model: str, version: str) -> Registered:
    found = registry.find(model, version)
    if found is None:
        raise PromotionError(
            f"{model} {version} is not registered. "
            "scripts/train.py registers what it builds; MLFLOW_TRACKING_URI says where to look."
        )
    return found
