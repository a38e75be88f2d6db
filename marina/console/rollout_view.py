"""A rollout as its page shows it: shares over time, each gate's evidence, what shadows answered differently."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from marina.console.figures import Figures
from marina.console.plots import Line
from marina.database.tables import LEDGER, ROLLOUTS, SHADOW_PAIRS, VERDICTS
from marina.releases.ledger import Entry
from marina.rollout import rollouts, verdicts
from marina.rollout.judge.decision import Finding
from marina.rollout.rollouts import Rollout
from marina.rollout.state_machine import missing_approvals

PAGE = 40
MOST_ENTRIES, MOST_VERDICTS, MOST_PAIRS, EXAMPLES = 300, 120, 5_000, 8


@dataclass(frozen=True)
class Gate:
    """What a gate finds, and how long it may take until it is sure at today's rate."""

    finding: Finding
    hours: float | None

    @property
    def harm(self) -> tuple[float, float]:
        """Evidence of harm, and what decides it: log e-values."""
        return self.finding.log_harm, self.finding.log_harm_needed

    @property
    def fine(self) -> tuple[float, float]:
        """Evidence of no harm, and what decides it."""
        return self.finding.log_fine, self.finding.log_fine_needed


@dataclass(frozen=True)
class Disagreements:
    """What a shadow answered to the last requests, beside stable."""

    compared: int
    differ: int
    examples: Sequence[sa.Row[Any]]


@dataclass(frozen=True)
class View:
    """All that the page shows."""

    rollout: Rollout
    timeline: Sequence[Entry]
    gates: Sequence[Gate]
    outcome: str
    reason: str
    verdict: int | None
    shares: Sequence[Line]
    evidence: Sequence[Line]
    agreed: Sequence[str]
    missing: int
    shadow: Disagreements


def listing(connection: sa.Connection, before: int | None, model: str) -> tuple[list[Any], int | None]:
    """Return a page of rollouts, the newest first, and before which number the next page begins."""
    one = ROLLOUTS.c
    columns = (
        one.id,
        one.model,
        one.stable,
        one.canary,
        one.phase,
        one.started_at,
        one.started_by,
        one.ended_at,
        one.note,
    )
    chosen = sa.select(*columns).order_by(one.id.desc()).limit(PAGE + 1)
    chosen = chosen.where(one.id < before) if before is not None else chosen
    rows = list(connection.execute(chosen.where(one.model == model) if model else chosen))
    return rows[:PAGE], rows[PAGE - 1].id if len(rows) > PAGE else None


def read(connection: sa.Connection, number: int, figures: Figures) -> View | None:
    """Return a rollout's view; None where there is no such rollout."""
    one = rollouts.rollout(connection, number)
    if one is None:
        return None
    timeline = _timeline(connection, one)
    last = verdicts.last(connection, number)
    traffic = figures.traffic.get((one.model, one.canary))
    per_hour = traffic.requests if traffic else 0
    found = last.verdict() if last else None
    gates = [
        Gate(finding, finding.needs / per_hour if finding.needs and per_hour and one.ended_at is None else None)
        for finding in (found.findings if found else ())
    ]
    agreed = rollouts.agreed(connection, number)
    return View(
        one, timeline, gates, found.outcome if found else "", found.reason if found else "", last.id if last else None,
        _shares(one, timeline), _evidence(connection, number), sorted(agreed),
        missing_approvals(one, agreed) if one.policy.approvals else 0, _disagreements(connection, one),
    )  # fmt: skip


def _timeline(connection: sa.Connection, one: Rollout) -> list[Entry]:
    rows = sa.select(LEDGER).where(LEDGER.c.model == one.model, LEDGER.c.time >= one.started_at - 1)
    rows = rows.order_by(LEDGER.c.seq).limit(MOST_ENTRIES)
    entries = [Entry(**row._mapping) for row in connection.execute(rows)]
    return [entry for entry in entries if entry.said.get("rollout") == one.id]


def _shares(one: Rollout, timeline: Sequence[Entry]) -> list[Line]:
    points: list[tuple[float, float]] = []
    for entry in timeline:
        weights = entry.weights
        share = 100 * weights.get(one.canary, 0.0) / (sum(weights.values()) or 1.0)
        points += [(entry.time, points[-1][1]), (entry.time, share)] if points else [(entry.time, share)]
    if points:
        points.append((max(one.ended_at or one.phase_since, points[-1][0]), points[-1][1]))
    return [Line(one.canary, points)] if points else []


def _evidence(connection: sa.Connection, number: int) -> list[Line]:
    """Return each gate's evidence of harm over time, as a share of what decides."""
    columns = (VERDICTS.c.time, VERDICTS.c.findings)
    rows = sa.select(*columns).where(VERDICTS.c.rollout == number).order_by(VERDICTS.c.id.desc()).limit(MOST_VERDICTS)
    series: dict[str, list[tuple[float, float]]] = {}
    for row in reversed(connection.execute(rows).all()):
        for said in json.loads(row.findings):
            value, needed = float(said["log_harm"]), float(said["log_harm_needed"])
            share = 100 * value / needed if needed > 0 and math.isfinite(value) else 0.0
            series.setdefault(said["gate"], []).append((row.time, max(0.0, min(200.0, share))))
    return [Line(name, points) for name, points in series.items()]


def _disagreements(connection: sa.Connection, one: Rollout) -> Disagreements:
    pair = SHADOW_PAIRS.c
    mine = (pair.model == one.model, pair.shadow == one.canary, pair.status == 200)
    newest = sa.select(SHADOW_PAIRS).where(*mine).order_by(pair.time.desc()).limit(MOST_PAIRS).subquery()
    differs = newest.c.stable_label != newest.c.shadow_label
    counted = sa.select(sa.func.count(), sa.func.sum(sa.case((differs, 1), else_=0))).select_from(newest)
    compared, differ = connection.execute(counted).one()
    examples = connection.execute(sa.select(newest).where(differs).limit(EXAMPLES)).all() if differ else []
    return Disagreements(int(compared), int(differ or 0), examples)
