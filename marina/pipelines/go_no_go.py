"""Whether a phase of the household budget may begin: each criterion, its figure, where that came from, and the verdict.

Phase 2a is rules and cache, 2b categorization and anomalies by models and the A/B test, 2c forecasts, recommendations
and alerts. What users' feedback says counts before what an archive's evaluation said; no data is never a pass.
"""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import sqlalchemy as sa

from marina.database.tables import ROLLOUTS
from marina.events.version_counts import SLO
from marina.pipelines import figures
from marina.pipelines.figures import Figure, Samples
from marina.settings import Settings

Phase = Literal["2a", "2b", "2c"]
PHASES: Final = {
    "2a": "rules and cache",
    "2b": "categorization and anomalies by models, A/B test",
    "2c": "forecasts, recommendations, alerts",
}
CATEGORIZER, ANOMALY, FORECAST = "budget_categorizer", "budget_anomaly", "budget_forecast"
MODELS: Final = (CATEGORIZER, ANOMALY, FORECAST)
LEAST_LABELS = 100
"""Labels below which the archive's evaluation counts in place of users' feedback."""

_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt, ">": operator.gt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True)
class Criterion:
    """One line of a decision.

    Attributes
    ----------
    row
        Of the product's roadmap, B1 to B17.
    name, unit
        What is measured, and in what.
    relation, bar
        What it has to be.
    figure
        What it is.
    """

    row: str
    name: str
    relation: str
    bar: float
    unit: str
    figure: Figure

    @property
    def verdict(self) -> str:
        """``pass``, ``fail`` or ``no data``."""
        if self.figure.value is None:
            return "no data"
        return "pass" if _COMPARE[self.relation](self.figure.value, self.bar) else "fail"

    def to_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        said = {name: value for name, value in dataclasses.asdict(self).items() if name != "figure"}
        return said | figures.as_json(self.figure) | {"verdict": self.verdict}


@dataclass(frozen=True)
class Evidence:
    """Where figures come from: the settings, a connection, /metrics, and from when on the log counts (s since 1970)."""

    settings: Settings
    connection: sa.Connection
    samples: Samples
    low: float
    high: float


def decide(phase: Phase, evidence: Evidence) -> list[Criterion]:
    """Return every criterion of a phase."""
    return list({"2a": _rules_and_cache, "2b": _models, "2c": _forecasts}[phase](evidence))


def _rules_and_cache(evidence: Evidence) -> Iterator[Criterion]:
    archive = figures.served_archive(evidence.settings, evidence.connection, CATEGORIZER)
    rules = Figure(None, f"there is no archive of {CATEGORIZER}")
    if archive is not None:
        one = archive.contract
        found = archive.json("family.json").get("rules") if "family.json" in archive.members else None
        rules = Figure(len(found or ()), f"archive, {one.model} {one.version}")
    yield Criterion("B1", "rules", ">=", 50, "rules", rules)
    coverage, precision = (figures.evaluation(archive, f"rules_{name}") for name in ("coverage", "precision"))
    yield Criterion("B1", "transactions for which a rule fires", ">", 0.70, "share", coverage)
    judged = figures.ratio(evidence.samples, "marina_rule_answers_judged", "right", "yes")
    enough = sum(value for name, _, value in evidence.samples if name == "marina_rule_answers_judged") >= LEAST_LABELS
    yield Criterion("B1", "precision of rules", ">", 0.90, "share", judged if enough else precision)
    in_worker = figures.serving_ms(evidence.connection, CATEGORIZER, "rule", evidence.low)
    yield Criterion("B1", "time of a transaction by rules, p95", "<", 50, "ms", in_worker)
    counts = figures.requests_of(evidence.connection, evidence.low, evidence.high, [CATEGORIZER])
    yield Criterion("B7", "time of the rules' path, p95", "<", 300, "ms", figures.latency_ms(counts))
    hits = figures.ratio(evidence.samples, "marina_answer_cache_total", "outcome", "hit")
    yield Criterion("B7", "looks into the cache that found an answer", ">", 0, "share", hits)
    yield from _service(evidence)


def _models(evidence: Evidence) -> Iterator[Criterion]:
    yield _measured(evidence, "B3", "accuracy of categories", ">", 0.85, CATEGORIZER, "accuracy", "accuracy")
    archive = figures.served_archive(evidence.settings, evidence.connection, CATEGORIZER)
    yield Criterion("B3", "transactions answered for sure", ">", 0.90, "share", figures.evaluation(archive, "coverage"))
    yield _measured(
        evidence, "B5", "usual transactions reported", "<", 0.05, ANOMALY, "false_positive_rate",
        "suspicious.false_positives",
    )  # fmt: skip
    yield Criterion("B8", "A/B tests that ended with the hybrid", ">=", 1, "tests", _tests(evidence))
    yield from _service(evidence)


def _forecasts(evidence: Evidence) -> Iterator[Criterion]:
    yield _measured(evidence, "B6", "error of forecasts per category (MAPE)", "<", 0.20, FORECAST, "mape", "mape")
    archive = figures.served_archive(evidence.settings, evidence.connection, FORECAST)
    total = figures.evaluation(archive, "total.day_15.mape")
    yield Criterion("B6", "error of the month's total on day 15 (MAPE)", "<", 0.20, "share", total)
    judged = figures.ratio(evidence.samples, "marina_recommendations_judged", "relevant", "yes")
    yield Criterion("B15", "recommendations found relevant", ">", 0.50, "share", judged)
    yield from _service(evidence)


def _service(evidence: Evidence) -> Iterator[Criterion]:
    """Yield what holds in every phase."""
    counts = figures.requests_of(evidence.connection, evidence.low, evidence.high, MODELS)
    yield Criterion("B7", "time of an answer, p95", "<", 500, "ms", figures.latency_ms(counts))
    available = figures.availability(counts)
    errors = Figure(None if available.value is None else 1 - available.value, available.source)
    yield Criterion("B10", "requests that fail", "<", 0.05, "share", errors)
    yield Criterion("B15", "availability", ">=", SLO, "share", available)


def _measured(
    evidence: Evidence, row: str, name: str, relation: str, bar: float, model: str, measure: str, metric: str
) -> Criterion:
    """Return a criterion of what users' feedback says, else of the archive's evaluation."""
    found = figures.live_quality(evidence.connection, model, measure, evidence.low, LEAST_LABELS)
    if found.value is None:
        archive = figures.served_archive(evidence.settings, evidence.connection, model)
        said = figures.evaluation(archive, metric)
        found = Figure(said.value, said.source if said.value is not None else f"{said.source}; {found.source}")
    return Criterion(row, name, relation, bar, "share", found)


def _tests(evidence: Evidence) -> Figure:
    """Count A/B tests of the categorizer that its new version won."""
    given = ROLLOUTS.c
    rows = evidence.connection.execute(
        sa.select(given.phase, given.policy).where(given.model == CATEGORIZER, given.ended_at.is_not(None))
    ).all()
    tests = [row for row in rows if json.loads(row.policy).get("test")]
    if not tests:
        return Figure(None, f"no A/B test of {CATEGORIZER} has ended (docs/ROLLOUTS.md says how to begin one)")
    return Figure(sum(row.phase == "done" for row in tests), f"rollouts, {len(tests)} A/B tests that ended")
