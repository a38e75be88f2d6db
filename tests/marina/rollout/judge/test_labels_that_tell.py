"""Labels count for a canary only where they would tell one that is always wrong."""

import json
from dataclasses import replace

import pytest

from marina.rollout import verdicts
from marina.rollout.judge.decision import Finding, decide
from marina.rollout.judge.evidence import Arm, Evidence, Pairs
from marina.rollout.policy.schema import DEFAULT, Policy, PolicyError, read_policy

USUAL = read_policy()
TEST = read_policy(DEFAULT.with_name("ab_test.yaml"))


def asking(policy: Policy = USUAL, **changes: object) -> Policy:
    """Return the policy with a gate of accuracy that has to be passed."""
    accuracy = policy.gates.accuracy.model_copy(update={"required": True} | changes)
    return policy.model_copy(update={"gates": policy.gates.model_copy(update={"accuracy": accuracy})})


def observed(stable: tuple[int, int], canary: tuple[int, int], pairs: Pairs = Pairs()) -> Evidence:  # noqa: B008
    """Return evidence of versions whose requests fare well, with labels and how many were right."""
    return Evidence(Arm(19_000, 80, 19_000, 900, *stable), Arm(1_000, 6, 1_000, 30, *canary), pairs)


def accuracy(evidence: Evidence, policy: Policy) -> Finding:
    return next(one for one in decide(evidence, policy).findings if one.gate == "accuracy")


NOTHING = {
    "none of a hundred right": (observed((92, 0), (108, 0)), "8 more labels of stable's answers (none of 92 is right"),
    "none of many right": (observed((9_000, 0), (9_000, 0)), "more right answers of stable's: 0 of 9,000"),
    "right by accident": (observed((9_000, 40), (9_000, 30)), "more right answers of stable's: 40 of 9,000"),
    "fewer right than may be lost": (observed((9_000, 440), (9_000, 420)), "440 of 9,000 were, over 5 %"),
    "pairs, none right": (observed((0, 0), (0, 0), Pairs(0, 3_000, 0, 3_000)), "0 of 3,000 were"),
    "no labels": (observed((0, 0), (0, 0)), "about 100 more labels of stable's answers"),
    "one label too few": (observed((99, 99), (9_000, 9_000)), "about 1 more label of stable's answers"),
    "few pairs": (observed((0, 0), (0, 0), Pairs(0, 60, 0)), "about 40 more labels of stable's answers"),
    "labels of the canary alone": (observed((0, 0), (9_000, 9_000)), "about 100 more labels of stable's answers"),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_labels_that_tell_nothing_promote_nothing_and_what_is_missing_is_said(kind: str) -> None:
    evidence, missing = NOTHING[kind]
    verdict = decide(evidence, asking())
    assert verdict.outcome == "keep watching"
    assert missing in verdict.reason and missing in accuracy(evidence, asking()).missing
    usual = decide(evidence, USUAL)  # which does not ask for labels: they are no reason to promote either
    assert usual.outcome == "promote" and "right answers" not in usual.reason


@pytest.mark.parametrize(
    "evidence",
    [
        observed((2_000, 1_800), (2_000, 1_800)),
        observed((0, 0), (0, 0), Pairs(10, 2_980, 10, 200)),
        observed((92, 0), (108, 0), Pairs(10, 2_980, 10, 200)),  # pairs tell what labels apart do not
        observed((4_000, 600), (4_000, 620)),
    ],
    ids=["labels", "pairs", "either", "few right, and more than may be lost"],
)
def test_labels_that_tell_still_promote(evidence: Evidence) -> None:
    assert decide(evidence, asking()).outcome == "promote"
    assert accuracy(evidence, asking()).missing == ""


@pytest.mark.parametrize(
    "evidence",
    [
        observed((60, 60), (60, 0)),
        observed((99, 98), (400, 40)),
        observed((0, 0), (0, 0), Pairs(60, 20, 0)),
        observed((9_000, 4_000), (9_000, 0)),
    ],
    ids=["few labels", "few of stable's", "few pairs", "many"],
)
def test_harm_that_is_shown_rolls_back_however_few_labels_there_are(evidence: Evidence) -> None:
    for policy in (USUAL, asking(), TEST):
        verdict = decide(evidence, policy)
        assert verdict.outcome == "roll back" and "right answers" in verdict.reason


def test_of_no_right_answer_no_test_has_a_winner() -> None:
    for evidence in (observed((92, 0), (108, 0)), observed((9_000, 0), (90_000, 0)), observed((9, 0), (9, 0))):
        assert decide(evidence, TEST).outcome == "keep watching"


def test_the_policy_says_how_many_labels_are_enough() -> None:
    evidence = observed((500, 450), (500, 450), Pairs(0, 30, 0))
    assert "needs about 500 more labels" in decide(evidence, asking(least_labels=1_000)).reason
    assert USUAL.gates.accuracy.least_labels == TEST.gates.accuracy.least_labels == 100


@pytest.mark.parametrize("value", [0, -1, 2.5, "many"])
def test_a_number_of_labels_that_cannot_be_is_refused_by_entry(value: object) -> None:
    gates = USUAL.gates.model_dump()
    gates["accuracy"]["least_labels"] = value
    with pytest.raises(ValueError, match="least_labels"):
        Policy.model_validate(USUAL.model_dump() | {"gates": gates})


def test_a_policy_from_before_there_was_that_number_has_the_usual_one() -> None:
    kept = USUAL.model_dump()
    del kept["gates"]["accuracy"]["least_labels"]
    assert Policy.model_validate_json(json.dumps(kept)) == USUAL
    assert issubclass(PolicyError, ValueError)


def test_pairs_of_a_judge_that_did_not_count_what_both_had_wrong_are_read_as_before() -> None:
    kept = observed((0, 0), (0, 0), Pairs(10, 2_980, 10)).to_dict()
    del kept["pairs"]["wrong"], kept["pairs_of_clients"]["wrong"]
    assert Evidence.from_dict(kept) == observed((0, 0), (0, 0), Pairs(10, 2_980, 10))
    with pytest.raises(ValueError, match="no more wrong than the same"):
        Pairs(0, 1, 0, 2)


def test_what_is_missing_is_kept_with_the_verdict_and_only_then() -> None:
    verdict = decide(NOTHING["none of many right"][0], asking())
    text = verdicts.findings(verdict)
    assert [("missing" in one) for one in json.loads(text)] == [False, False, True]
    assert verdicts.Kept(1, 0.0, 0, verdict.outcome, "{}", text).verdict() == verdict


def test_more_labels_than_were_missing_are_enough() -> None:
    early = observed((40, 36), (40, 36), Pairs())
    assert accuracy(early, asking()).missing == "about 60 more labels of stable's answers"
    assert accuracy(replace(early, stable=Arm(19_000, 80, 19_000, 900, 100, 90)), asking()).missing == ""
