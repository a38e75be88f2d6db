"""Verdicts on recorded evidence do not move unless the judge's number does.

    python -m tests.marina.rollout.judge.test_golden_verdicts      # record them again, with a new number

`golden_verdicts.json` holds 50 evidences, drawn once over what evidence may look like, and 10 of labels that say little
or nothing, with the verdicts on them.
"""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from marina.rollout import interim_looks, verdicts
from marina.rollout.judge import JUDGE_VERSION
from marina.rollout.judge.decision import decide
from marina.rollout.judge.evidence import Arm, Counts, Evidence, Look, Pairs
from marina.rollout.policy.schema import DEFAULT, Policy, read_policy

GOLDEN = Path(__file__).with_name("golden_verdicts.json")
CASES = 50
SEED = 20
LITTLE = (
    ((92, 0), (108, 0), Pairs()),
    ((92, 0), (108, 0), Pairs()),
    ((9_000, 0), (9_000, 0), Pairs()),
    ((9_000, 400), (9_000, 300), Pairs()),
    ((0, 0), (0, 0), Pairs(0, 3_000, 0, 3_000)),
    ((0, 0), (0, 0), Pairs(0, 3_000, 0, 3_000)),
    ((99, 99), (5_000, 5_000), Pairs()),
    ((99, 99), (5_000, 5_000), Pairs()),
    ((60, 60), (60, 0), Pairs()),
    ((2_000, 1_800), (2_000, 1_800), Pairs(10, 1_980, 10, 100)),
)
"""Labels, and right ones, of stable and of the canary, and pairs: too few, or none right, or just enough."""

METRICS = ("errors", "latency", "accuracy")


def policies() -> dict[str, Policy]:
    """The usual policy, one that asks for labels, and that of an A/B test by each metric."""
    found, test = {"canary": read_policy()}, read_policy(DEFAULT.with_name("ab_test.yaml"))
    assert test.test
    gates = found["canary"].gates
    labels = gates.accuracy.model_copy(update={"required": True})
    found["canary by labels"] = found["canary"].model_copy(
        update={"gates": gates.model_copy(update={"accuracy": labels})}
    )
    for metric in METRICS:
        found[f"test of {metric}"] = test.model_copy(update={"test": test.test.model_copy(update={"metric": metric})})
    return found


def draw_counts(chance: random.Random, requests: int, rates: dict[str, float], labelled: int) -> dict[str, int]:
    def hits(count: int, rate: float) -> int:
        return min(count, max(0, round(chance.gauss(count * rate, (count * rate * (1 - rate)) ** 0.5))))

    return {
        "requests": requests,
        "errors": hits(requests, rates["errors"]),
        "timed": requests,
        "slow": hits(requests, rates["slow"]),
        "labelled": labelled,
        "right": hits(labelled, rates["right"]),
    }


def draw_look(chance: random.Random, clients: dict[bool, int], rates: dict[bool, float]) -> Look:
    observed = Counter(
        (canary, min(of, sum(chance.random() < rates[canary] for _ in range(of))), of)
        for canary, count in clients.items()
        for of in (round(chance.paretovariate(1.2)) for _ in range(count))
    )
    return interim_looks.by_rate(
        chance.randrange(6), [interim_looks.Observed(*key, count) for key, count in observed.items()]
    )


def draw_evidence(chance: random.Random, sessions: bool, labels: bool, paired: bool, harm: str) -> Evidence:
    requests = chance.choice((0, 300, 2_000, 10_000, 40_000))
    share = chance.choice((0.05, 0.5))
    usual = {"errors": 0.004, "slow": 0.04, "right": 0.9}
    changes = {"errors": {"errors": 0.04}, "slow": {"slow": 0.12}, "wrong": {"right": 0.83}}
    gains = {"better": {"errors": 0.001, "slow": 0.01, "right": 0.94}}
    rates = {False: usual, True: usual | (changes | gains).get(harm, {})}
    arms = {}
    for canary in (False, True):
        count = round(requests * (share if canary else 1 - share))
        alone = draw_counts(chance, count // (4 if sessions else 1), rates[canary], count // 3 if labels else 0)
        clients = {name: 0 for name in alone}
        if sessions:
            clients = draw_counts(chance, count - count // 4, rates[canary], count // 5 if labels else 0)
        every = {name: alone[name] + clients[name] for name in alone}
        shared = chance.randrange(1 + (every["requests"] - every["errors"]) // 500) if canary else 0
        arms[canary] = Arm(**every, shared=shared, of_clients=Counts(**clients))
    pairs = some = Pairs()
    if paired and requests:
        worse = 0.06 if harm == "wrong" else 0.01
        better = 0.05 if harm == "better" else 0.01
        both = requests // 6
        pairs = Pairs(round(worse * both), both - round(worse * both) - round(better * both), round(better * both))
        some = Pairs(pairs.worse // 2, pairs.same // 2, pairs.better // 2) if sessions else Pairs()
    looks = {}
    if sessions and requests:
        crowd = {False: max(2, requests // 25), True: max(2, round(share * requests) // 25)}
        by_look = {"errors": "errors", "failures": "errors", "latency": "slow", "accuracy": "right"}
        for name, rate in by_look.items():
            if name != "accuracy" or labels:
                of = {canary: rates[canary][rate] if rate != "right" else 1 - rates[canary][rate] for canary in crowd}
                looks[name] = draw_look(chance, crowd, of)
        if paired:
            found = Counter((chance.random() < 0.06, chance.random() < 0.03, chance.randint(1, 4)) for _ in range(300))
            observed = [interim_looks.Paired(int(worse), int(better and not worse), of, n)
                   for (worse, better, of), n in found.items()]  # fmt: skip
            looks["pairs"] = interim_looks.by_pairs(chance.randrange(5), observed)
    shared_s = chance.choice((30.0, 3_600.0, 700_000.0))
    return Evidence(arms[False], arms[True], pairs, shared_s, chance.randrange(2), some, looks)


def draw_cases() -> list[dict[str, Any]]:
    """Draw evidence over its kinds: with and without sessions, labels, pairs, an A/B test, and harm of each kind."""
    chance, names = random.Random(SEED), list(policies())
    cases = []
    for number in range(CASES):
        sessions, labels, paired = (bool(number >> bit & 1) for bit in range(3))
        harm = chance.choice(("", "", "errors", "slow", "wrong", "better"))
        policy = "canary" if number % 5 < 3 else names[-3 + number % 3]
        evidence = draw_evidence(chance, sessions, labels, paired, harm)
        cases.append({"policy": policy, "evidence": evidence.to_dict()})
    for number, (stable, canary, pairs) in enumerate(LITTLE):
        asked = {False: (19_000, 80, 19_000, 900), True: (1_000, 6, 1_000, 30)}
        evidence = Evidence(Arm(*asked[False], *stable), Arm(*asked[True], *canary), pairs)
        cases.append({"policy": "canary by labels" if number % 2 else "canary", "evidence": evidence.to_dict()})
    return cases


def judge_case(case: dict[str, Any], rules: dict[str, Policy]) -> dict[str, Any]:
    verdict = decide(Evidence.from_dict(case["evidence"]), rules[case["policy"]])
    found = json.loads(verdicts.findings(verdict, JUDGE_VERSION))
    return {"outcome": verdict.outcome, "reason": verdict.reason, "findings": found}


def record() -> None:
    """Write the file anew."""
    rules = policies()
    held = {name: one.model_dump() for name, one in rules.items()}
    cases = [case | judge_case(case, rules) for case in draw_cases()]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    GOLDEN.write_text(f'{{"judge":"{JUDGE_VERSION}","policies":{json.dumps(held)},"cases":[\n{lines}\n]}}\n')
    print(Counter((case["policy"], case["outcome"]) for case in cases))


def read_golden() -> dict[str, Any]:
    held: dict[str, Any] = json.loads(GOLDEN.read_text())
    return held


def test_the_golden_file_is_of_this_judge_and_has_verdicts_of_every_kind() -> None:
    golden = read_golden()
    assert golden["judge"] == JUDGE_VERSION, "the judge's number was raised: record the golden verdicts again"
    assert len(golden["cases"]) == CASES + len(LITTLE)
    outcomes = {kind: {case["outcome"] for case in golden["cases"] if case["policy"].startswith(kind)}
                for kind in ("canary", "test")}  # fmt: skip
    assert outcomes["canary"] == outcomes["test"] == {"promote", "roll back", "keep watching"}


@pytest.mark.parametrize("number", range(CASES + len(LITTLE)))
def test_a_verdict_on_recorded_evidence_moves_only_with_the_judges_number(number: int) -> None:
    golden = read_golden()
    case, rules = golden["cases"][number], {n: Policy.model_validate(one) for n, one in golden["policies"].items()}
    again = judge_case(case, rules)
    about = "verdicts have changed: raise JUDGE_VERSION, add cases of the kind that changed, and record again"
    assert (again["outcome"], again["reason"]) == (case["outcome"], case["reason"]), about
    for new, old in zip(again["findings"], case["findings"], strict=True):
        numbers = {name: value for name, value in old.items() if isinstance(value, float)}
        assert {name: new[name] for name in numbers} == pytest.approx(numbers, rel=1e-9, abs=1e-9), about
        assert {name: new[name] for name in old.keys() - numbers.keys()} == {
            name: old[name] for name in old.keys() - numbers.keys()
        }, about


@pytest.mark.parametrize("name", policies())
def test_a_stored_verdict_is_read_back_as_it_was_given(name: str) -> None:
    for case in read_golden()["cases"][:20]:
        verdict = decide(Evidence.from_dict(case["evidence"]), policies()[name])
        text = verdicts.findings(verdict)
        assert not {one["outcome"] for one in json.loads(text)} - {"harm", "fine", "open"}
        assert verdicts.Kept(1, 0.0, 0, verdict.outcome, "{}", text).verdict() == verdict


if __name__ == "__main__":
    record()
