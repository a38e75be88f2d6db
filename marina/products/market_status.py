"""Which versions of the market's model there are, how good they were, and which are compared."""

import json
import time
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.loop_tables import TRAININGS
from marina.database.tables import ALERTS, DECLARATIONS, DRIFT_REPORTS, REPLICAS, ROLLOUTS
from marina.events.quality import count_quality
from marina.monitoring import requested_trainings
from marina.monitoring.alerts import REQUEST, request_training
from marina.products.market_config import MODEL
from marina.rollout import verdicts
from marina.rollout.judge.evidence import Arm
from marina.rollout.judge.f1_metric import f1_interval, f1_of
from marina.rollout.judge.gate import TEST

FAMILY = "market"
WEEK_S = 7 * 86_400.0
MOST_TESTS = 50


def model_status(connection: sa.Connection) -> dict[str, Any]:
    """Return each declared version's share of the requests, and whether it is ready."""
    given, seen = DECLARATIONS.c, REPLICAS.c
    states = {
        row.version: row.state
        for row in connection.execute(
            sa.select(seen.version, seen.state).where(seen.model == MODEL).order_by(seen.seen_at)
        )
    }
    rows = connection.execute(sa.select(DECLARATIONS).where(given.model == MODEL).order_by(given.weight.desc())).all()
    total = sum(row.weight for row in rows) or 1.0
    versions = [
        {
            "version": row.version, "share": row.weight / total, "state": states.get(row.version, "unknown"),
            "sha256": row.sha256, "declared_at": row.declared_at,
        }
        for row in rows
    ]  # fmt: skip
    active = versions[0]["version"] if versions and rows[0].weight > 0 else None
    return {"model": MODEL, "active_version": active, "versions": versions}


def performance_summary(connection: sa.Connection) -> dict[str, Any]:
    """Return how good answers were by the truths of the last seven days, and whether they drift."""
    found = count_quality(connection, time.time() - WEEK_S, None, MODEL)
    newest = sa.select(DRIFT_REPORTS).where(DRIFT_REPORTS.c.model == MODEL).order_by(DRIFT_REPORTS.c.id.desc()).limit(1)
    report = connection.execute(newest).first()
    return {
        "days": 7,
        "versions": {
            version: {
                "answered": one.answered, "labelled": one.labelled, "metrics": one.measures(),
            }
            for (_, version), one in sorted(found.items())
        },
        "drift_detected": bool(report.drift_detected) if report else None,
    }  # fmt: skip


def status(database: Database, counted: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both; an empty summary where none is to be counted."""
    with database.reading() as connection:
        return model_status(connection), performance_summary(connection) if counted else {}


def last_training(database: Database) -> dict[str, Any] | None:
    """Return what is recorded of the newest training of the market's family; None before the first."""
    given = TRAININGS.c
    newest = sa.select(TRAININGS).where(given.family == FAMILY).order_by(given.started_at.desc()).limit(1)
    with database.reading() as connection:
        row = connection.execute(newest).first()
    if row is None:
        return None
    return {
        "state": row.state, "reason": row.reason, "version": row.version, "started_at": row.started_at,
        "ended_at": row.ended_at, "result": json.loads(row.result),
    }  # fmt: skip


def waiting_trainings(database: Database, now: float) -> dict[str, Any]:
    """Return the trainings of the market's model that were asked for and are not finished, and whether a loop runs."""
    with database.reading() as connection:
        return {
            "requests": [
                {"request": one.alert, "who": one.who, "asked_at": one.time, "begun": begun}
                for one, begun in _asked(connection, now)
            ],
            "loop_runs": requested_trainings.is_attended(connection, now),
        }


def ask_training(database: Database, who: str, why: str, now: float) -> tuple[int, bool]:
    """Ask for a training of the market's model, where none that has yet to begin was asked for.

    Returns
    -------
    number, joined
        Of the request; and whether it was there before.

    Raises
    ------
    AlertError
        When no reason is given.
    """
    given = ALERTS.c
    last = sa.select(sa.func.max(given.id)).where(given.model == MODEL, given.kind == REQUEST)
    with database.reading() as connection:
        waits = next((one.alert for one, begun in _asked(connection, now) if not begun), None)
        before = connection.execute(last).scalar() or 0
    if waits is not None and why.strip():
        return waits, True
    return request_training(database, MODEL, who, why, f"products, after {before}", now), False  # two at once: the same


def _asked(connection: sa.Connection, now: float) -> list[tuple[requested_trainings.Request, bool]]:
    found = requested_trainings.pending(connection, now)
    return [(one, begun) for one, begun in found if one.model == MODEL and one.rules is None]


def ab_tests(database: Database, now: float) -> list[dict[str, Any]]:
    """Return the newest comparisons of two versions, those under way first."""
    given = ROLLOUTS.c
    chosen = sa.select(ROLLOUTS).where(given.model == MODEL)
    order = (given.ended_at.is_not(None), given.id.desc())
    with database.reading() as connection:
        rows = connection.execute(chosen.order_by(*order).limit(MOST_TESTS)).all()
        quality = count_quality(connection, now - WEEK_S, None, MODEL) if rows else {}
        said = {row.id: verdicts.last(connection, row.id) for row in rows}
    measured = {version: one.measures() for (_, version), one in quality.items()}
    return [
        {
            "test_id": str(row.id),
            "baseline": row.stable,
            "challenger": row.canary,
            "status": "completed" if row.ended_at is not None else "paused" if row.paused else "active",
            "phase": row.phase,
            "started_at": row.started_at,
            "ended_at": row.ended_at,
            "duration_hours": round(((row.ended_at or now) - row.started_at) / 3600, 3),
            **_result(json.loads(row.policy), said[row.id]),
            "metrics": {"baseline": measured.get(row.stable, {}), "challenger": measured.get(row.canary, {})},
            "policy": json.loads(row.policy),
            "note": row.note,
        }
        for row in rows
    ]


def _result(policy: dict[str, Any], last: verdicts.Kept | None) -> dict[str, Any]:
    """Return by which metric versions are compared (none where it is no test), and what the judge last found."""
    metric = (policy.get("test") or {}).get("metric")
    found = [one for one in last.verdict().findings if one.gate == TEST] if last and metric else []
    if not found or last is None:
        return {"primary_metric": metric, "result": None}
    [test], evidence = found, last.counts()
    result: dict[str, Any] = {"challenger_is": test.outcome, "observed": test.observed, "decided_at": last.time}
    if metric == "f1":
        result |= {"baseline": _f1_of(evidence.stable), "challenger": _f1_of(evidence.canary)}
    return {"primary_metric": metric, "result": result}


def _f1_of(counts: Arm) -> dict[str, Any]:
    low, high = f1_interval(counts)
    return {"f1": f1_of(counts), "low": low, "high": high, "labelled": counts.labelled}
