"""The judge keeps its promises, and says what it goes by."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.rollout import interim_looks
from marina.rollout.judge.accuracy_gate import AccuracyGate
from marina.rollout.judge.decision import GATES, decide, decides
from marina.rollout.judge.e_values import above, below, between, pairs_above
from marina.rollout.judge.evidence import Arm, Counts, Evidence, Pairs
from marina.rollout.policy.schema import DEFAULT, PolicyError, read_policy

POLICY = read_policy()
AB_POLICY = read_policy(DEFAULT.with_name("ab_test.yaml"))
DECIDES = decides(POLICY, "accuracy", 0)[0]
ROLLOUTS = 2000
REQUESTS = 3000
LOOKS = np.arange(15, REQUESTS + 1, 15)  # requests of the canary at which the judge is asked
ALPHA = POLICY.false_alarm_rate / len(GATES)


def streams(rate: float, length: int, seed: int, rollouts: int = ROLLOUTS) -> np.ndarray:
    """Return how many successes each of many streams has had at each look, [rollouts, looks]."""
    rng = np.random.default_rng(seed)
    every = length // len(LOOKS)
    return np.cumsum(rng.binomial(every, rate, (rollouts, len(LOOKS))), axis=1)


def upper_bound(share: float, count: int) -> float:
    """Return the 95 % upper bound of a rate (Wilson, one-sided)."""
    z = 1.645
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    return centre + z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))


def alarms(won: np.ndarray) -> float:
    return float((won.max(axis=1) >= DECIDES).mean())


def test_the_errors_gate_keeps_its_false_alarm_rate_at_the_worst_allowed_case() -> None:
    rate = alarms(above(streams(0.01, REQUESTS, 1), LOOKS, 0.01))
    assert upper_bound(rate, ROLLOUTS) < ALPHA


def test_the_errors_gate_forgives_what_stable_does_too() -> None:
    canary, stable = streams(0.03, REQUESTS, 2, 500)[:, ::4], streams(0.03, 19 * REQUESTS, 3, 500)[:, ::4]
    looks = LOOKS[::4]
    won = np.minimum(above(canary, looks, 0.01), between(stable, 19 * looks, canary, looks, 0.0))
    assert upper_bound(alarms(won), 500) < ALPHA


def test_the_latency_gate_forgives_a_server_that_is_slow_as_a_whole() -> None:
    slow = Evidence(Arm(190_000, 0, 190_000, 30_000), Arm(10_000, 0, 10_000, 1_600))
    assert decide(slow, POLICY).outcome == "promote"
    alone = replace(slow, stable=Arm(190_000, 0, 190_000, 9_000))
    assert decide(alone, POLICY).outcome == "roll back"
    assert decide(replace(slow, stable=Arm()), POLICY).outcome == "roll back"  # nothing to compare with


def test_the_latency_gate_keeps_its_false_alarm_rate_at_the_worst_allowed_case() -> None:
    rate = alarms(above(streams(0.05, REQUESTS, 4), LOOKS, 0.05))
    assert upper_bound(rate, ROLLOUTS) < ALPHA


@pytest.mark.parametrize("share", [1, 19])
def test_the_accuracy_gate_keeps_its_false_alarm_rate_at_the_worst_allowed_case(share: int) -> None:
    canary, stable = streams(0.88, REQUESTS, 5)[:, ::8], streams(0.90, share * REQUESTS, 6)[:, ::8]
    rate = alarms(between(canary, LOOKS[::8], stable, share * LOOKS[::8], 0.02))
    assert upper_bound(rate, ROLLOUTS) < ALPHA


def test_the_paired_accuracy_gate_keeps_its_false_alarm_rate_at_the_worst_allowed_case() -> None:
    rng = np.random.default_rng(7)
    parts = np.cumsum(rng.multinomial(15, [0.05, 0.92, 0.03], (ROLLOUTS, len(LOOKS))), axis=1)
    rate = alarms(pairs_above(parts[..., 0], parts[..., 1], parts[..., 2], 0.02))
    assert upper_bound(rate, ROLLOUTS) < ALPHA


def test_no_canary_that_is_worse_than_accepted_is_promoted_too_often() -> None:
    rate = float((below(streams(0.02, REQUESTS, 8), LOOKS, 0.02).max(axis=1) >= DECIDES).mean())
    assert upper_bound(rate, ROLLOUTS) < ALPHA


@pytest.mark.parametrize(("rate", "most"), [(0.05, 250), (0.03, 600)])
def test_errors_are_caught_soon(rate: float, most: int) -> None:
    hit = above(streams(rate, REQUESTS, 9, 300), LOOKS, 0.01) >= DECIDES
    assert hit.any(axis=1).mean() > 0.99
    assert np.median(LOOKS[hit.argmax(axis=1)]) <= most


def test_of_two_alike_versions_a_test_seldom_finds_a_winner_or_a_loser() -> None:
    canary, stable = streams(0.9, REQUESTS, 13)[:, ::20], streams(0.9, 4 * REQUESTS, 14)[:, ::20]
    looks = LOOKS[::20]
    won = between(stable, 4 * looks, canary, looks, 0.0).max(axis=1) >= decides(AB_POLICY, "test", 0)[1]
    lost = between(canary, looks, stable, 4 * looks, 0.0).max(axis=1) >= decides(AB_POLICY, "test", 0)[0]
    assert upper_bound(float(won.mean()), ROLLOUTS) < AB_POLICY.false_promotion_rate / 4
    assert upper_bound(float(lost.mean()), ROLLOUTS) < AB_POLICY.false_alarm_rate / 4


def test_a_test_finds_the_better_version_early() -> None:
    canary, stable = streams(0.93, 10 * REQUESTS, 15, 200)[:, ::8], streams(0.90, 10 * REQUESTS, 16, 200)[:, ::8]
    hit = between(stable, 10 * LOOKS[::8], canary, 10 * LOOKS[::8], 0.0) >= decides(AB_POLICY, "test", 0)[1]
    assert hit.any(axis=1).mean() > 0.99
    assert np.median(10 * LOOKS[::8][hit.argmax(axis=1)]) < 7_000


def test_labels_apart_and_in_pairs_share_the_error_budget() -> None:
    pairs = Evidence(pairs=Pairs(120, 1_800, 20))
    apart = Evidence(Arm(labelled=9_000, right=8_100), Arm(labelled=3_000, right=2_500))
    both = replace(apart, pairs=pairs.pairs)
    gate = AccuracyGate.within(POLICY.gates.accuracy)
    assert gate.log_e_harm(both) == max(gate.log_e_harm(apart), gate.log_e_harm(pairs))
    assert gate.log_e_harm(pairs) == pytest.approx(float(pairs_above(120, 1_800, 20, 0.02)) - 2 * math.log(2))


def test_pairs_need_far_fewer_labels_than_separate_requests() -> None:
    rng = np.random.default_rng(10)
    labels = 40 * LOOKS
    parts = np.cumsum(rng.multinomial(600, [0.06, 0.93, 0.01], (60, len(LOOKS))), axis=1)
    canary, stable = streams(0.85, 40 * REQUESTS, 11, 60), streams(0.90, 40 * REQUESTS, 12, 60)
    paired = pairs_above(parts[..., 0], parts[..., 1], parts[..., 2], 0.02) >= DECIDES
    apart = between(canary, labels, stable, labels, 0.02) >= DECIDES
    assert paired.any(axis=1).all() and apart.any(axis=1).all()
    assert np.median(labels[paired.argmax(axis=1)]) <= 0.4 * np.median(labels[apart.argmax(axis=1)])


HEALTHY = Evidence(Arm(19_000, 80, 19_000, 900), Arm(1_000, 6, 1_000, 30))


def test_no_traffic_is_neither_good_nor_bad() -> None:
    verdict = decide(Evidence(), POLICY)
    assert verdict.outcome == "keep watching" and all(one.needs is None for one in verdict.findings)


def test_a_healthy_canary_is_promoted_and_the_reason_names_what_was_seen() -> None:
    verdict = decide(HEALTHY, POLICY)
    assert verdict.outcome == "promote"
    assert "canary 6 of 1000" in verdict.reason


def test_each_gate_rolls_back_by_itself_and_says_so() -> None:
    ill = {
        "errors": replace(HEALTHY, canary=Arm(1_000, 50, 1_000, 30)),
        "latency": replace(HEALTHY, canary=Arm(1_000, 6, 1_000, 150)),
        "accuracy": replace(HEALTHY, pairs=Pairs(120, 1_800, 20)),
    }
    for gate, evidence in ill.items():
        verdict = decide(evidence, POLICY)
        assert verdict.outcome == "roll back"
        assert [one.gate for one in verdict.findings if one.outcome == "harm"] == [gate]
        assert ("60 : 1 decides" if gate == "accuracy" else "80 : 1 decides") in verdict.reason


def test_a_stable_version_that_is_ill_itself_is_no_reason_to_roll_back() -> None:
    assert decide(Evidence(Arm(19_000, 2_000), Arm(1_000, 60, 1_000, 30)), POLICY).outcome == "promote"


def test_all_traffic_on_the_canary_still_rolls_back_on_its_own_errors() -> None:
    assert decide(Evidence(canary=Arm(1_000, 50, 1_000, 30)), POLICY).outcome == "roll back"


@pytest.mark.parametrize("metric", ["errors", "latency", "accuracy"])
def test_a_test_promotes_the_winner_and_gives_up_the_loser(metric: str) -> None:
    assert AB_POLICY.test
    policy = AB_POLICY.model_copy(update={"test": AB_POLICY.test.model_copy(update={"metric": metric})})
    good, bad = Arm(20_000, 20, 20_000, 400, 9_000, 8_500), Arm(20_000, 120, 20_000, 800, 9_000, 8_280)
    better, worse = decide(Evidence(bad, good), policy), decide(Evidence(good, bad), policy)
    assert better.outcome == "promote" and worse.outcome == "roll back"
    assert [one.gate for one in worse.findings if one.outcome == "worse"] == ["test"]
    assert better.findings[-1].gate == "test" and better.findings[-1].observed in better.reason


def test_a_test_ends_on_its_date_without_a_winner_and_harm_ends_it_before() -> None:
    assert AB_POLICY.test
    alike = Evidence(Arm(9_000, 20, 9_000, 90, 800, 700), Arm(9_000, 22, 9_000, 95, 800, 702))
    week = AB_POLICY.test.ends_after_s
    assert decide(replace(alike, shared_s=week - 5), AB_POLICY).outcome == "keep watching"
    ended = decide(replace(alike, shared_s=week), AB_POLICY)
    assert ended.outcome == "roll back" and "before either was shown to be better" in ended.reason
    assert decide(replace(alike, shared_s=week), POLICY).outcome == "promote"  # no test, no end
    harmed = decide(replace(alike, canary=replace(alike.canary, errors=500)), AB_POLICY)
    assert harmed.outcome == "roll back" and "errors" in harmed.reason


def test_what_is_still_needed_is_about_right() -> None:
    early = Evidence(Arm(1_900, 8, 1_900, 90), Arm(100, 5, 100, 3))
    needs = next(one.needs for one in decide(early, POLICY).findings if one.gate == "errors")
    assert needs is not None
    more = 1 + needs / 100
    later = Evidence(Arm(round(1_900 * more), round(8 * more)), Arm(round(100 * more), round(5 * more)))
    assert decide(later, POLICY).outcome == "roll back"


counts = st.integers(0, 2_000)


@settings(deadline=None, max_examples=30)
@given(counts, counts, counts, counts)
def test_evidence_survives_json_and_gives_the_same_verdict(a: int, b: int, c: int, d: int) -> None:
    observed = [
        interim_looks.Observed(True, a % 9, a % 9 + b + 1, 1 + c),
        interim_looks.Observed(False, c % 3, c % 3 + d + 1, 2 + a),
    ]
    look, pairs = (
        interim_looks.by_rate(a % 7, observed),
        interim_looks.by_pairs(b % 7, [interim_looks.Paired(a, b, a + b + c + 1, d)]),
    )
    evidence = Evidence(
        Arm(a + b + d, a, labelled=d, right=d // 2, of_clients=Counts(a, a)),
        Arm(c + d, c, c + d, d, shared=d // 3, of_clients=Counts(d, 0, d, d, shared=d // 3)),
        Pairs(a, b, c),
        a / 7,
        a % 3,
        Pairs(a // 2, b, c // 3),
        {"errors": look, "latency": look, "accuracy": look, "pairs": pairs},
    )
    again = Evidence.from_dict(json.loads(json.dumps(evidence.to_dict(), sort_keys=True)))
    assert again == evidence and decide(again, POLICY) == decide(evidence, POLICY)
    assert evidence.scaled(1.0) == evidence


def test_evidence_of_a_judge_that_knew_no_clients_can_still_be_read() -> None:
    arm = {"requests": 1000, "errors": 50, "timed": 1000, "slow": 30, "labelled": 9, "right": 8}
    kept = {
        "stable": {**arm, "errors": 5},
        "canary": arm,
        "pairs": {"worse": 1, "same": 2, "better": 3},
        "shared_s": 9.0,
    }
    evidence = Evidence.from_dict(kept)
    assert (
        evidence.canary == Arm(1000, 50, 1000, 30, 9, 8) == evidence.canary.alone or evidence.canary.alone.errors == 50
    )
    assert decide(evidence, POLICY).outcome == "roll back"


def test_each_step_has_its_part_of_what_a_gate_may_accuse_and_labels_are_of_the_whole_rollout() -> None:
    for gate in ("errors", "latency"):
        parts = [math.exp(-decides(POLICY, gate, step)[0]) for step in range(len(POLICY.steps))]
        assert sum(parts) == pytest.approx(ALPHA) and parts[0] == pytest.approx(0.75 * ALPHA)
    assert decides(POLICY, "accuracy", 0) == decides(POLICY, "accuracy", 2) == (math.log(60), math.log(60))
    assert math.exp(-decides(AB_POLICY, "test", 1)[0]) == pytest.approx(AB_POLICY.false_alarm_rate / 4)
    assert decides(POLICY, "errors", 2)[1] == math.log(60)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="errors"):
        Arm(1, 2)
    with pytest.raises(ValueError, match="errors"):
        Arm(10, 2, of_clients=Counts(10, 1))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("accept: 0.02", "accept: 0.005"), "gates.errors"),
        (("share: 0.50", "share: 0.01"), "steps"),
        (("share: 1.00", "share: 0.90"), "steps"),
        (("margin_ms: 50", "margin: 50"), "margin"),
        (("false_alarm_rate: 0.05", "false_alarm_rate: 0"), "false_alarm_rate"),
        (("approvals: 0", "approvals: 3"), "approvals"),
        (("stuck_after_s: 600", "stuck_after_s: 0"), "stuck_after_s"),
        (("approvals: 0", "test: {metric: accuracy, ends_after_s: 60}"), "steps: a test has two"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused_by_entry(change: tuple[str, str], named: str, tmp_path: Path) -> None:
    text = DEFAULT.read_text()
    assert change[0] in text
    (tmp_path / "policy.yaml").write_text(text.replace(*change))
    with pytest.raises(PolicyError, match=named):
        read_policy(tmp_path / "policy.yaml")
