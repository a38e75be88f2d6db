"""Open alerts, drift detectors and A/B tests, for Prometheus: what lies in tables already."""

import json
from collections import Counter
from collections.abc import Iterable

import sqlalchemy as sa

from marina.database.tables import ALERTS, DECLARATIONS, DRIFT_DETECTORS, DRIFT_REPORTS, ROLLOUTS
from marina.events.exposition import Row, write_family
from marina.events.label_counts import MARKET
from marina.monitoring.alerts import LEVELS, RULE


def collect_alerts(connection: sa.Connection, now: float) -> Iterable[list[str]]:
    """Write how many alerts are open, by level; those of Prometheus' own rules are counted apart."""
    del now
    chosen = sa.select(ALERTS.c.model, ALERTS.c.version, ALERTS.c.level, ALERTS.c.kind, ALERTS.c.state).where(
        ALERTS.c.resolved_at.is_(None)
    )
    levels = Counter({("rule", level): 0 for level in LEVELS} | {("detector", level): 0 for level in LEVELS})
    waiting: Counter[tuple[str, str, str]] = Counter()
    for row in connection.execute(chosen):
        levels["rule" if row.kind == RULE else "detector", row.level] += 1
        if row.kind != RULE and row.state == "open":
            waiting[row.model, row.version, row.level] += 1
    rows: list[Row] = [({"of": of, "level": level}, count) for (of, level), count in levels.items()]
    yield write_family("marina_alerts_open", "gauge", "Open alerts, of rules and of detectors, by level.", rows)
    found: list[Row] = [
        ({"model": model, "version": version, "level": level}, count)
        for (model, version, level), count in sorted(waiting.items())
    ]
    about = "Alerts of detectors that no one has acknowledged."
    yield write_family("marina_detector_alerts_unseen", "gauge", about, found)


def collect_drift(connection: sa.Connection, now: float) -> Iterable[list[str]]:
    """Write how near each version's drift detectors are to an alarm, and how many points of accuracy it has lost.

    The latter are of its last report (`marina.monitoring.drift_reports`), where labels came, with their 95 % interval.
    """
    traffic = sa.select(DECLARATIONS.c.model, DECLARATIONS.c.version).where(DECLARATIONS.c.weight > 0)
    live = {(row.model, row.version) for row in connection.execute(traffic)}  # the others are watched no further
    table = DRIFT_DETECTORS.c
    chosen = sa.select(table.model, table.version, table.evidence, table.needed).order_by(table.model, table.version)
    every = connection.execute(chosen.where(table.evidence.is_not(None))).all()
    found = [row for row in every if (row.model, row.version) in live]
    about = "Log e-value of the version's drift detector that is nearest to its alarm."
    rows: list[Row] = [({"model": row.model, "version": row.version}, row.evidence) for row in found]
    yield write_family("marina_drift_log_evidence", "gauge", about, rows)
    rows = [({"model": row.model, "version": row.version}, row.needed) for row in found]
    yield write_family("marina_drift_log_evidence_needed", "gauge", "Where that detector raises it.", rows)
    report = DRIFT_REPORTS.c
    of_days = report.created_at > now - 7 * 86_400
    newest = sa.select(sa.func.max(report.id)).where(of_days).group_by(report.model, report.version)
    lost: list[Row] = []
    for row in connection.execute(sa.select(DRIFT_REPORTS).where(report.id.in_(newest)).order_by(report.id)):
        if (row.model, row.version) not in live:
            continue
        points = json.loads(row.details)["windows"][0]["performance"]["lost"]
        for bound, value in zip(("estimate", "lower", "upper"), points or (), strict=bool(points)):
            lost.append(({"model": row.model, "version": row.version, "bound": bound}, value))
    about = "Points of accuracy lost against held-out data, by the labels of 7 days, with the bounds of their interval."
    yield write_family("marina_accuracy_lost_points", "gauge", about, lost)


def collect_market_tests(connection: sa.Connection, now: float) -> Iterable[list[str]]:
    """Write the market model's open rollouts, in which two versions share the traffic, by the product's names."""
    chosen = sa.select(ROLLOUTS.c.id, ROLLOUTS.c.started_at).where(
        ROLLOUTS.c.model == MARKET, ROLLOUTS.c.ended_at.is_(None), ROLLOUTS.c.phase != "shadow"
    )
    tests = connection.execute(chosen.order_by(ROLLOUTS.c.id)).all()
    yield write_family("crypto_rebal_ml_ab_tests_active", "gauge", "Open A/B tests.", [({}, len(tests))])
    hours: list[Row] = [({"test_id": str(row.id)}, max(0.0, now - row.started_at) / 3600) for row in tests]
    yield write_family("crypto_rebal_ml_ab_test_duration_hours", "gauge", "How long each has run.", hours)
