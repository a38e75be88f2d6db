"""Every model in a line: what is live, how it does, and what is open about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from marina.console.figures import Figures, Score, Traffic
from marina.database.tables import ALERTS, DECLARATIONS, DRIFT_DETECTORS, ROLLOUTS
from marina.events.version_counts import SLO
from marina.monitoring.alerts import LEVELS

PAGE = 50


@dataclass
class Line:
    """One model.

    Attributes
    ----------
    live
        Declared versions with their shares of the traffic, the largest first.
    traffic, score
        Of the version with the largest share; None where nothing is known.
    drift
        ``moved``, ``none found``, or ``needs more`` and ``not watched``; `evidence` of `needed` (log e-values).
    alerts
        Open ones, by level.
    rollout
        The open rollout's number and phase.
    """

    model: str
    live: list[tuple[str, float]] = field(default_factory=list)
    traffic: Traffic | None = None
    score: Score | None = None
    drift: str = "not watched"
    evidence: float = 0.0
    needed: float = 0.0
    alerts: dict[str, int] = field(default_factory=dict)
    rollout: tuple[int, str, str] | None = None

    @property
    def budget_left(self) -> float | None:
        """Share of the hour's error budget that is left, down to 0; None without traffic."""
        if self.traffic is None or not self.traffic.requests:
            return None
        return max(0.0, 1 - self.traffic.error_rate / (1 - SLO))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "model": self.model,
            "live": [{"version": version, "share": share} for version, share in self.live],
            "p95_ms": self.traffic.p95_ms if self.traffic else None,
            "error_rate": self.traffic.error_rate if self.traffic else None,
            "quality": None if self.score is None else vars(self.score),
            "drift": self.drift,
            "budget_left": self.budget_left,
            "alerts": self.alerts,
            "rollout": self.rollout[0] if self.rollout else None,
        }


def read(connection: sa.Connection, figures: Figures, after: str = "") -> tuple[list[Line], str]:
    """Return a page of models, by name, and the name after which the next page begins; empty where there is none."""
    names = sa.select(DECLARATIONS.c.model).distinct().where(DECLARATIONS.c.model > after)
    models = list(connection.execute(names.order_by(DECLARATIONS.c.model).limit(PAGE + 1)).scalars())
    more, models = models[PAGE - 1] if len(models) > PAGE else "", models[:PAGE]
    lines = {model: Line(model) for model in models}
    _add_versions(connection, lines, figures)
    _add_drift(connection, lines)
    counted = (
        sa.select(ALERTS.c.model, ALERTS.c.level, sa.func.count().label("open"))
        .where(ALERTS.c.resolved_at.is_(None), ALERTS.c.model.in_(models))
        .group_by(ALERTS.c.model, ALERTS.c.level)
    )
    for row in connection.execute(counted):
        lines[row.model].alerts[row.level] = row.open
    one = ROLLOUTS.c
    going = sa.select(one.id, one.model, one.phase, one.canary).where(one.model.in_(models), one.ended_at.is_(None))
    for row in connection.execute(going):
        lines[row.model].rollout = row.id, row.phase, row.canary
    return list(lines.values()), more


def open_of_server(connection: sa.Connection) -> dict[str, int]:
    """Count open alerts that are about the server and no model, by level."""
    counted = (
        sa.select(ALERTS.c.level, sa.func.count().label("open"))
        .where(ALERTS.c.resolved_at.is_(None), ALERTS.c.model == "")
        .group_by(ALERTS.c.level)
    )
    return {row.level: row.open for row in connection.execute(counted)}


def order_levels(found: dict[str, int]) -> Sequence[tuple[str, int]]:
    """Return counts by level, the most urgent first."""
    return [(level, found[level]) for level in reversed(LEVELS) if found.get(level)]


def _add_versions(connection: sa.Connection, lines: dict[str, Line], figures: Figures) -> None:
    one = DECLARATIONS.c
    for row in connection.execute(sa.select(one.model, one.version, one.weight).where(one.model.in_(lines))):
        lines[row.model].live.append((row.version, row.weight))
    for line in lines.values():
        total = sum(weight for _, weight in line.live) or 1.0
        line.live = sorted(((version, weight / total) for version, weight in line.live), key=lambda one: -one[1])
        champion = line.model, line.live[0][0]
        line.traffic, line.score = figures.traffic.get(champion), figures.scores.get(champion)


def _add_drift(connection: sa.Connection, lines: dict[str, Line]) -> None:
    one = DRIFT_DETECTORS.c
    columns = (one.model, one.version, one.evidence, one.needed, one.alarmed_at, one.batches)
    for row in connection.execute(sa.select(*columns).where(one.model.in_(lines))):
        line = lines[row.model]
        if row.version != line.live[0][0]:
            continue
        line.evidence, line.needed = row.evidence or 0.0, row.needed
        line.drift = "moved" if row.alarmed_at is not None else "none found" if row.batches else "needs more"
