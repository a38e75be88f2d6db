"""An A/B test of the market's model is decided by F1, from truths of its questions, and shown with its intervals."""

import json

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import PREDICTIONS, ROLLOUTS, TRUTHS
from marina.products import market_status
from marina.products.market_config import MODEL
from marina.rollout import rollouts, verdicts
from marina.rollout.evidence_query import gather
from marina.rollout.judge.decision import decide
from marina.rollout.policy.schema import DEFAULT, read_policy, with_metric

START = 1_700_000_000.0
QUESTIONS = ("SPIKE_LIKELY@4h", "SPIKE_LIKELY@12h", "CORRELATION_BREAKDOWN@4h", "CORRELATION_BREAKDOWN@12h")


def ask(database: Database, version: str, count: int, alarms: tuple[str, ...]) -> None:
    """Write that a version gave these alarms, of which the first question alone came true."""
    truth = {name: name == QUESTIONS[0] for name in QUESTIONS}
    said = [{"label": name, "alert": name in alarms} for name in QUESTIONS]
    names = [f"{version} {number}" for number in range(count)]
    answers = {"model": MODEL, "version": version, "instance": 0, "time": START, "picked": True, "label": None}
    known = {"instance": 0, "kind": "questions", "truth": json.dumps(truth), "time": START}
    with database.writing() as connection:
        connection.execute(
            sa.insert(PREDICTIONS), [answers | {"request_id": one, "answer": json.dumps(said)} for one in names]
        )
        connection.execute(sa.insert(TRUTHS), [known | {"request_id": one} for one in names])


def test_a_test_by_f1_is_decided_by_truths_and_shown(database: Database) -> None:
    policy = with_metric(read_policy(DEFAULT.with_name("ab_test.yaml")), "f1")
    row = {
        "model": MODEL, "stable": "1.0", "canary": "2.0", "phase": "watching", "step": 0, "paused": False,
        "policy": policy.model_dump_json(), "started_by": "carla", "started_at": START - 60, "phase_since": START,
        "watched_since": START, "note": "",
    }  # fmt: skip
    with database.writing() as connection:
        connection.execute(sa.insert(ROLLOUTS), row)
    [waiting] = market_status.ab_tests(database, START)
    assert (waiting["primary_metric"], waiting["result"]) == ("f1", None)
    ask(database, "1.0", 300, QUESTIONS)
    ask(database, "2.0", 300, QUESTIONS[:1])
    with database.writing() as connection:
        rollout = rollouts.rollout(connection, 1)
        assert rollout is not None
        evidence = gather(connection, rollout)
        verdicts.keep(connection, rollout, evidence, decide(evidence, policy), START + 9)
        assert verdicts.replay(connection, rollout).faults == []
    [found] = market_status.ab_tests(database, START + 10)
    result = found["result"]
    assert (found["primary_metric"], result["challenger_is"]) == ("f1", "better")
    assert (result["baseline"]["f1"], result["challenger"]["f1"]) == (pytest.approx(0.4), 1.0)
    assert result["baseline"]["low"] < 0.4 < result["baseline"]["high"] < result["challenger"]["low"]
    assert found["metrics"]["baseline"]["pooled_f1"] == pytest.approx(0.4)
