"""Why a family is trained, and that an alarm about which no one has decided is no reason."""

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DRIFT_REPORTS, LABELS, PREDICTIONS
from marina.monitoring.alerts import DECISIONS, Finding, acknowledge, decide, open_alert
from marina.pipelines import trainings
from marina.pipelines.reasons import Reason, Situation, find_reason

MODELS = ["catalog"]


def reason(found: Situation, auto_retrain: bool = False) -> Reason | None:
    return find_reason(found, 100, auto_retrain, 0.15)


def situation(database: Database, new_data: bool = False) -> Situation:
    with database.reading() as connection:
        return trainings.situation(connection, "catalog", MODELS, new_data)


def alarm(database: Database, model: str = "catalog") -> int:
    found = Finding(model, "1.0", "drift", "drift", "critical", "moved", 1.0, 0.9, 9.0, 3.0, "", "")
    return open_alert(database, found, time.time())


def test_each_reason_holds_alone() -> None:
    assert reason(Situation()) is None
    assert reason(Situation(new_data=True)) == Reason("data", "the data has changed")
    assert reason(Situation(labels=99)) is None
    assert (found := reason(Situation(labels=100))) and found.kind == "labels"
    assert reason(Situation(labels=100, same=True)) is None, "it would come out the same"
    assert (found := reason(Situation(retrain_alert=7))) and found.mark == "alert 7"
    assert reason(Situation(drift=0.9)) is None, "only where it is allowed"
    assert reason(Situation(drift=0.15), auto_retrain=True) is None
    assert (found := reason(Situation(drift=0.16), auto_retrain=True)) and found.kind == "drift"


@pytest.mark.parametrize("action", DECISIONS)
def test_only_the_decision_to_retrain_is_a_reason(database: Database, action: str) -> None:
    number = alarm(database)
    assert reason(situation(database)) is None
    acknowledge(database, number, "ann", "seen", time.time())
    assert reason(situation(database)) is None
    decide(database, number, "ann", action, "she said", time.time())
    found = reason(situation(database))
    assert (found is not None) is (action == "retrain")


def test_a_decision_is_answered_by_one_training_and_another_models_alarm_by_none(database: Database) -> None:
    decide(database, alarm(database, "signflow"), "ann", "retrain", "elsewhere", time.time())
    assert reason(situation(database)) is None
    decide(database, alarm(database), "ann", "retrain", "new goods", time.time())
    found = reason(situation(database))
    assert found is not None
    trainings.begin(database, "k", "catalog", "d", "c", found, "2.0", time.time())
    assert reason(situation(database)) is not None, "it is not done yet"
    trainings.end(database, "k", True, {}, time.time())
    assert reason(situation(database)) is None


def test_labels_and_reports_count_from_the_last_training_on(database: Database) -> None:
    now = time.time()

    def add(first: int, count: int, at: float) -> None:
        rows = [{"request_id": f"r{k}", "instance": 0} for k in range(first, first + count)]
        with database.writing() as connection:
            answered = {"model": "catalog", "version": "1.0", "time": at, "picked": True, "answer": "{}"}
            connection.execute(sa.insert(PREDICTIONS), [row | answered for row in rows])
            connection.execute(sa.insert(LABELS), [row | {"label": "10", "time": at} for row in rows])
            report = {"report_date": "2026-11-23", "model": "catalog", "version": "1.0", "details": "{}"}
            scores = {"data_drift_score": 0.3, "prediction_drift_score": None, "performance_drift_score": 0.1}
            connection.execute(sa.insert(DRIFT_REPORTS), report | scores | {"drift_detected": True, "created_at": at})

    add(0, 100, now - 100)
    assert (situation(database).labels, situation(database).drift) == (100, 0.3)
    trainings.begin(database, "k", "catalog", "d", "c", Reason("labels", ""), "2.0", now)
    trainings.end(database, "k", True, {}, now)
    assert (situation(database).labels, situation(database).drift) == (0, 0.0)
    add(100, 5, now + 100)
    assert (situation(database).labels, situation(database).drift) == (5, 0.3)


def test_a_training_is_another_for_other_data_code_or_reason(tmp_path: Path) -> None:
    keys = {
        trainings.key_of(*parts) for parts in (("f", "d", "c"), ("f", "e", "c"), ("f", "d", "b"), ("f", "d", "c", "x"))
    }
    assert len(keys) == 4
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    before = trainings.code_hash(tmp_path, ["a"])
    (tmp_path / "a" / "notes.txt").write_text("2")
    assert trainings.code_hash(tmp_path, ["a"]) == before
    (tmp_path / "a" / "x.py").write_text("2")
    assert trainings.code_hash(tmp_path, ["a"]) != before
