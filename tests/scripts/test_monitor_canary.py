import re
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, EVIDENCE, REPLICAS, ROLLOUTS
from marina.events import latency_histogram
from marina.rollout import verdicts
from marina.rollout.judge.decision import decide
from marina.rollout.judge.evidence import Arm, Evidence
from marina.rollout.policy.schema import read_policy
from marina.rollout.rollouts import rollout_of
from scripts.monitor_canary import main


@pytest.fixture
def shown(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    monkeypatch.setenv("MARINA_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "140")

    def show(*arguments: str) -> str:
        assert main(["--model", "m", *arguments]) == 0
        return " ".join(capsys.readouterr().out.replace("│", " ").split())

    return show


def serve(database: Database, **weights: float) -> None:
    now = time.time()
    with database.writing() as connection:
        for place, (name, weight) in enumerate(weights.items()):
            version = f"{name[1:]}.0"
            both = {"model": "m", "version": version, "sha256": "0" * 64}
            declared = {"archive": "m.mar", "weight": weight, "input_share": 0.0, "declared_at": float(place)}
            connection.execute(sa.insert(DECLARATIONS), both | declared)
            report = {"replica": "here", "state": "ready", "reason": "", "weight": weight, "seen_at": now}
            connection.execute(sa.insert(REPLICAS), both | report)
            counts = latency_histogram.to_json({latency_histogram.bucket(20.0): 120})
            window = {"model": "m", "version": version, "replica": "here", "start": int(now - 10)}
            connection.execute(sa.insert(EVIDENCE), window | {"requests": 120, "errors": place, "latencies": counts})


def roll_out(database: Database, evidence: Evidence | None, ended_at: float | None = None) -> None:
    now = time.time()
    row = {
        "model": "m", "stable": "1.0", "canary": "2.0", "phase": "done" if ended_at else "watching", "step": 0,
        "paused": False, "policy": read_policy().model_dump_json(), "started_by": "ada", "started_at": now - 60,
        "phase_since": now - 60, "ended_at": ended_at, "note": "ready on here",
    }  # fmt: skip
    with database.writing() as connection:
        connection.execute(sa.insert(ROLLOUTS), row)
        if evidence and (rollout := rollout_of(connection, "m")):
            verdicts.keep(connection, rollout, evidence, decide(evidence, rollout.policy), now - 7)


def test_a_model_that_is_not_served_is_named(shown: Callable[..., str]) -> None:
    assert "m is not served here" in shown("--once")


def test_when_nothing_rolls_out_it_says_so_and_shows_the_traffic(database: Database, shown: Callable[..., str]) -> None:
    serve(database, v1=1.0)
    text = shown("--once")
    assert "m: no rollout yet" in text and "1.0 100 % 2.0 0 " in text and "here ready" in text
    roll_out(database, None, ended_at=time.time())
    assert "The last was rollout 1: m 1.0 -> 2.0, done" in shown("--once")


def test_a_rollout_is_shown_with_its_evidence_and_what_it_needs(database: Database, shown: Callable[..., str]) -> None:
    serve(database, v1=95.0, v2=5.0)
    roll_out(database, None)
    assert "No verdict yet" in shown("--once")
    with database.writing() as connection:
        connection.execute(sa.delete(ROLLOUTS))
    roll_out(database, Evidence(Arm(1_900, 8, 1_900, 90), Arm(100, 5, 100, 3)))
    text = shown("--once")
    assert "m 1.0 -> 2.0, watching at 5 %" in text
    assert "1.0 stable 95 %" in text and "2.0 canary 5 %" in text and "20." in text
    assert "errors: canary 5 of 100, stable 8 of 1900" in text and "needs about" in text
    assert re.search(r"\d s ago: keep watching", text) and "█" in text and "Last: ready on here" in text


def test_it_ends_when_its_time_is_over(database: Database, shown: Callable[..., str]) -> None:
    serve(database, v1=95.0, v2=5.0)
    roll_out(database, Evidence(Arm(1_900, 8, 1_900, 90), Arm(1_000, 80, 1_000, 30)))
    begin = time.monotonic()
    text = shown("--duration", "0.3")
    assert time.monotonic() - begin < 30
    assert "roll back: errors: canary 80 of 1000" in text
