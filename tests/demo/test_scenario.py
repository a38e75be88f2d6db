from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demo.plot import picture
from demo.scenario import Release
from demo.simulated_clients import Seen
from marina.database.connection import Database
from marina.releases.declarations import declare, read_archive
from marina.rollout import rollouts, verdicts
from marina.rollout.judge.decision import decide
from marina.rollout.judge.evidence import Arm, Evidence
from marina.rollout.policy.schema import read_policy
from marina.serving.stub_archive import build_stub
from marina.settings import ROOT

START = 1_700_000_000.0
POLICY = read_policy(ROOT / "demo" / "policy.yaml")
FAILING = Evidence(stable=Arm(2000, 0, 2000, 0, 5000, 4500), canary=Arm(200, 20, 200, 0, 500, 450))


def seen(at: float, version: str, status: int = 200) -> Seen:
    return Seen(START + at, "session-1", version, status, 5.0 + at, "" if status == 200 else "fault")


REQUESTS = (
    *(seen(at / 10, "1.0") for at in range(300)),
    seen(5.0, "2.0"),
    seen(6.0, "2.0", 500),
    seen(7.5, "2.0"),
    seen(8.0, "1.0", 503),
    seen(9.0, "", 0),
)


@pytest.fixture
def release(database: Database, tmp_path: Path) -> Release:
    with database.writing() as connection:
        declare(connection, read_archive(build_stub(tmp_path, "toy", "1.0")), START)
        candidate = read_archive(build_stub(tmp_path, "toy", "2.0"))
        begun = rollouts.start(connection, candidate, POLICY, "ann", START + 1)
        verdicts.keep(connection, begun, Evidence(), decide(Evidence(), POLICY), START + 2)
        verdicts.keep(connection, begun, FAILING, decide(FAILING, POLICY), START + 9)
        ended = replace(begun, phase="rolled back", ended_at=START + 10)
        rollouts.save(connection, ended)
    return Release(ended, FAILING, decide(FAILING, POLICY).findings, START + 7, REQUESTS)


def test_a_release_tells_its_own_errors_from_all_other_failures(release: Release) -> None:
    assert release.gates == ["errors"]
    assert release.odds > 60
    assert [one.sent - START for one in release.own_errors] == [6.0]
    assert [one.sent - START for one in release.other_failures] == [8.0, 9.0]
    assert release.harmed_s == 1.5, "from the first request it failed on to the last it answered"
    assert release.obeyed_s == 0.5
    assert replace(release, decided_at=START + 9).obeyed_s == 0
    slow = replace(release, seen=tuple(one for one in REQUESTS if one.status == 200))
    assert slow.harmed_s == 2.5, "without failures, from the first that it answered"
    assert replace(release, seen=()).harmed_s == 0


def test_a_session_may_go_to_the_canary_once_and_come_back_once(release: Release) -> None:
    def asked(*versions: str) -> Release:
        return replace(release, seen=tuple(seen(float(at), version) for at, version in enumerate(versions)))

    assert asked("1.0", "1.0", "2.0", "2.0", "", "2.0", "1.0").wavering == []
    assert asked("1.0", "2.0", "1.0", "2.0").wavering == ["session-1"]
    done = replace(release.rollout, phase="done")
    assert replace(asked("1.0", "2.0", "2.0"), rollout=done).wavering == []
    assert replace(asked("1.0", "2.0", "1.0"), rollout=done).wavering == ["session-1"]


def test_the_picture_is_drawn_from_what_clients_saw_and_the_judge_said(
    release: Release, database: Database, tmp_path: Path
) -> None:
    drawn = picture(database, REQUESTS, [release])
    shares, evidence, latency, errors = drawn.axes
    assert [line.get_label() for line in evidence.get_lines()[:3]] == ["errors", "latency", "accuracy"]
    harm = np.asarray(evidence.get_lines()[0].get_ydata())
    assert max(harm[0], harm[1]) == pytest.approx(0)
    assert harm[2] > 1
    assert len(latency.get_lines()) == 4, "median and p95 of both versions"
    assert [tick.get_text() for tick in errors.get_yticklabels()] == ["no one", "1.0", "2.0"]
    assert "2.0: rolled back\nby errors" in [text.get_text() for text in shares.texts]
    drawn.savefig(tmp_path / "demo.png")
    drawn.savefig(tmp_path / "demo.svg")


def test_the_demos_policy_has_the_gates_and_promises_of_the_usual_one() -> None:
    usual = read_policy()
    assert (POLICY.false_alarm_rate, POLICY.false_promotion_rate) == (
        usual.false_alarm_rate,
        usual.false_promotion_rate,
    )
    for gate in ("errors", "latency", "accuracy"):
        mine, theirs = getattr(POLICY.gates, gate), getattr(usual.gates, gate)
        assert mine.model_copy(update={"required": theirs.required}) == theirs
