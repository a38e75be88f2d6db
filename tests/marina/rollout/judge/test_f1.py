"""A test by F1 is decided by F1, and of versions whose F1 is the same few are ever decided."""

import numpy as np
import pytest
from numpy.typing import NDArray

from marina.rollout import interim_looks
from marina.rollout.judge.decision import Verdict, decide
from marina.rollout.judge.evidence import Arm, Counts, Evidence
from marina.rollout.judge.f1_metric import F1Metric, f1_interval, f1_of
from marina.rollout.policy.schema import DEFAULT, PolicyError, read_policy, with_metric

POLICY = with_metric(read_policy(DEFAULT.with_name("ab_test.yaml")), "f1")
METRIC = F1Metric()
MOST, TRUE = 20, 0.2


def answers(chance: np.random.Generator, count: int, recall: float, false: float) -> NDArray[np.float64]:
    """Draw answers to 1 to 20 questions that are mostly no, half of them with the same said of all. ``(count, 2)``"""
    parts, alike = chance.integers(1, MOST + 1, count), chance.random((count, 1)) < 0.5

    def draw(often: NDArray[np.float64]) -> NDArray[np.bool_]:
        each, once = chance.random((count, MOST), np.float32), chance.random((count, 1), np.float32)
        return np.where(alike, once, each) < often

    asked = np.arange(MOST) < parts[:, None]
    true = asked & draw(np.array([[TRUE]]))
    said = asked & draw(np.where(true, recall, false))
    return np.stack([(said & true).sum(axis=1) / parts, (said | true).sum(axis=1) / parts], axis=1)


def arm(seen: NDArray[np.float64]) -> Arm:
    hits, alarms = seen.sum(axis=0).tolist()
    return Arm(labelled=len(seen), right=len(seen) - (alarms - hits), alarms=alarms, hits=hits)


def found(verdict: Verdict) -> str:
    return verdict.findings[-1].outcome


def test_of_versions_with_the_same_f1_few_are_ever_decided_however_unlike_their_mistakes_are() -> None:
    """One version misses half of what is true, and the other reports falsely: J is 1/2 in both."""
    chance, decided = np.random.default_rng(3), 0
    for _ in range(60):
        stable, canary = answers(chance, 2000, 0.5, 0.0), answers(chance, 2000, 1.0, TRUE / (1 - TRUE))
        decided += any(
            max(METRIC.log_e_better(one), METRIC.log_e_worse(one)) >= np.log(20)
            for seen in (*range(25, 500, 25), *range(500, 2001, 100))
            for one in [Evidence(arm(stable[:seen]), arm(canary[:seen]))]
        )
    assert decided <= 60 * 0.05


def test_the_higher_f1_wins_though_its_accuracy_is_lower() -> None:
    stable = Arm(labelled=20_000, right=18_000, alarms=2_400, hits=400)
    canary = Arm(labelled=20_000, right=17_600, alarms=4_000, hits=1_600)
    verdict = decide(Evidence(stable, canary), POLICY)
    assert found(verdict) == "better" and verdict.outcome == "promote"
    assert "F1: canary 0.571 of 20,000 labelled, stable 0.286 of 20,000 labelled" in verdict.reason
    assert found(decide(Evidence(canary, stable), POLICY)) == "worse"
    by_accuracy = with_metric(POLICY, "accuracy")
    assert found(decide(Evidence(stable, canary), by_accuracy)) == "worse"


def test_clients_decide_where_requests_have_a_session() -> None:
    def look(bad: bool) -> Evidence:
        observed = [
            interim_looks.Observed(True, 8.0 if bad else 1.0, 10, 60),
            interim_looks.Observed(False, 4.0, 10, 60),
        ]
        of = [Counts(labelled=600, right=300, alarms=60, hits=30) for _ in range(2)]
        stable, canary = (Arm(labelled=600, right=300, alarms=60, hits=30, of_clients=one) for one in of)
        return Evidence(stable, canary, looks={"f1": interim_looks.by_rate(0, observed)})

    assert found(decide(look(bad=True), POLICY)) == "worse" and found(decide(look(bad=False), POLICY)) == "better"


def test_where_nothing_was_reported_or_true_the_test_stays_open() -> None:
    labels = Arm(labelled=5_000, right=4_000)
    verdict = decide(Evidence(labels, Arm(labelled=5_000, right=4_900)), POLICY)
    assert found(verdict) == "open" and "nothing was reported" in verdict.findings[-1].observed
    assert f1_of(labels) is None and f1_interval(labels) == (0.0, 1.0)
    assert METRIC.log_e_better(Evidence(labels, Arm(labelled=9, right=9, alarms=9, hits=9))) < 0


def test_the_interval_holds_the_f1_and_narrows() -> None:
    few, many = (Counts(labelled=n, alarms=n / 2, hits=n / 4) for n in (100, 10_000))
    (low, high), (lower, higher) = f1_interval(few), f1_interval(many)
    assert low < lower < 2 / 3 < higher < high and f1_of(many) == pytest.approx(2 / 3)


def test_a_policy_without_a_test_has_no_metric() -> None:
    with pytest.raises(PolicyError, match="No A/B test"):
        with_metric(read_policy(), "f1")
