"""Automatic trainings as the database keeps them: each is done once, though it is started again after a kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.loop_tables import TRAININGS
from marina.database.tables import ALERT_ACTIONS, ALERTS, DRIFT_REPORTS, LABELS, PREDICTIONS, TRUTHS
from marina.monitoring.alerts import RULES
from marina.pipelines.reasons import Reason, Situation
from marina.releases import ledger


@dataclass(frozen=True)
class Training:
    """One row: which training, and how far it is.

    Attributes
    ----------
    version
        Of the archives that its last attempt builds.
    state
        ``running``, ``done`` or ``failed``.
    result
        The trained versions and their runs, once it is done.
    """

    key: str
    version: str
    state: str
    attempts: int
    result: Mapping[str, Any]


def key_of(family: str, data: str, code: str, mark: str = "") -> str:
    """Return what identifies a training: the hash of the family, the hashes of its data and code, and the reason."""
    return hashlib.sha256("\n".join((family, data, code, mark)).encode()).hexdigest()


def code_hash(root: Path, folders: Iterable[str]) -> str:
    """Return one hash for all Python code below some folders of a tree, by path and content."""
    hashed = hashlib.sha256()
    for path in sorted({path for folder in folders for path in (root / folder).rglob("*.py")}):
        hashed.update(f"{path.relative_to(root).as_posix()}\n".encode())
        hashed.update(hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()


def read(database: Database, key: str) -> Training | None:
    """Return a training; None where it was never begun."""
    with database.reading() as connection:
        row = connection.execute(sa.select(TRAININGS).where(TRAININGS.c.key == key)).one_or_none()
    return None if row is None else Training(key, row.version, row.state, row.attempts, json.loads(row.result))


def newest_done(database: Database, family: str, since: float) -> Training | None:
    """Return the family's newest training that ended since a time; None where none did."""
    table = TRAININGS.c
    chosen = sa.select(TRAININGS).where(table.family == family, table.state == "done", table.ended_at >= since)
    with database.reading() as connection:
        row = connection.execute(chosen.order_by(table.ended_at.desc()).limit(1)).one_or_none()
    return None if row is None else Training(row.key, row.version, row.state, row.attempts, json.loads(row.result))


def cut_off(database: Database, family: str, data: str, code: str) -> tuple[Training, Reason] | None:
    """Return the training of the same data and code that was begun and never ended, and why it was; None without."""
    table = TRAININGS.c
    same = (table.family == family, table.data == data, table.code == code, table.state == "running")
    with database.reading() as connection:
        row = connection.execute(sa.select(TRAININGS).where(*same).order_by(table.started_at.desc()).limit(1)).first()
    if row is None:
        return None
    return Training(row.key, row.version, row.state, row.attempts, {}), Reason(row.reason, row.why)


def running(database: Database, families: Sequence[str]) -> list[str]:
    """Return the versions that trainings were to build which have begun and not ended."""
    table = TRAININGS.c
    chosen = sa.select(table.version).where(table.family.in_(families), table.state == "running")
    with database.reading() as connection:
        return list(connection.execute(chosen).scalars())


def done_with(database: Database, family: str, data: str, code: str) -> bool:
    """Return whether a training of this data by this code was done, for whatever reason."""
    table = TRAININGS.c
    same = (table.family == family, table.data == data, table.code == code, table.state == "done")
    with database.reading() as connection:
        return connection.execute(sa.select(table.key).where(*same).limit(1)).first() is not None


def begin(
    database: Database, key: str, family: str, data: str, code: str, reason: Reason, version: str, now: float
) -> int:
    """Record that a training is attempted, and which version it builds; return the number of the attempt."""
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        tried = connection.execute(sa.select(TRAININGS.c.attempts).where(TRAININGS.c.key == key)).scalar() or 0
        row = {
            "key": key, "family": family, "data": data, "code": code, "reason": reason.kind, "why": reason.why,
            "version": version, "state": "running", "attempts": tried + 1, "started_at": now, "ended_at": None,
            "result": "{}",
        }  # fmt: skip
        database.put(connection, TRAININGS, [row])
    return tried + 1


def end(database: Database, key: str, done: bool, result: Mapping[str, Any], now: float) -> None:
    """Record how a training ended."""
    state = "done" if done else "failed"
    with database.writing(durable=True) as connection:
        changed = sa.update(TRAININGS).where(TRAININGS.c.key == key)
        connection.execute(changed.values(state=state, ended_at=now, result=json.dumps(result, sort_keys=True)))


def situation(connection: sa.Connection, family: str, models: Sequence[str], new_data: bool) -> Situation:
    """Return what speaks for and against a training of a family now."""
    done = sa.and_(TRAININGS.c.family == family, TRAININGS.c.state == "done")
    since = connection.execute(sa.select(sa.func.max(TRAININGS.c.started_at)).where(done)).scalar() or 0.0
    labels = sum(
        connection.execute(
            sa.select(sa.func.count(sa.distinct(table.c.request_id)))
            .join(PREDICTIONS, PREDICTIONS.c.request_id == table.c.request_id)
            .where(PREDICTIONS.c.model.in_(models), table.c.time > since)
        ).scalar_one()
        for table in (LABELS, TRUTHS)
    )
    of_family = ALERTS.c.model.in_(models)
    decided = connection.execute(
        sa.select(sa.func.max(ALERTS.c.id))
        .join(ALERT_ACTIONS, ALERT_ACTIONS.c.alert == ALERTS.c.id)
        .where(of_family, ALERTS.c.kind != RULES, ALERT_ACTIONS.c.action == "retrain", ALERT_ACTIONS.c.time > since)
    ).scalar()
    report = DRIFT_REPORTS.c
    newest = sa.select(sa.func.max(report.id)).where(report.model.in_(models)).group_by(report.model)
    rows = connection.execute(
        sa.select(report.data_drift_score, report.prediction_drift_score, report.performance_drift_score).where(
            report.id.in_(newest), report.drift_detected, report.created_at > since
        )
    ).all()
    drift = max((score or 0.0 for row in rows for score in row), default=0.0)
    return Situation(new_data, labels, decided, drift, since)
