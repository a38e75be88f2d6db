"""Sums of losses between 0 and 1 are evidence as counts of right answers are, and never more than bets on each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.rollout.judge.decision import decide
from marina.rollout.judge.e_values import LOG_SHARES, STEPS, above, below
from marina.rollout.judge.evidence import Arm, Evidence
from marina.rollout.policy.schema import read_policy


def bets(values: np.ndarray, mean: float, steps: np.ndarray) -> float:
    """Bet on each value from 0 to 1 by itself, as on failures, and mix the bets as `e_values` does."""
    other = 1 / (1 + np.exp(-(np.log(mean) - np.log1p(-mean) + steps)))
    stakes = (other - mean) / (mean * (1 - mean))
    won = LOG_SHARES + np.log1p(stakes * (values[:, None] - mean)).sum(axis=0)
    return float(np.logaddexp.reduce(won))


@given(
    st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=50),
    st.floats(0.01, 0.99),
)
def test_the_evidence_of_a_sum_is_at_most_that_of_bets_on_each_loss(losses: list[float], mean: float) -> None:
    values = np.array(losses)
    assert float(above(values.sum(), len(values), mean)) <= bets(values, mean, STEPS) + 1e-9
    assert float(below(values.sum(), len(values), mean)) <= bets(values, mean, -STEPS) + 1e-9
    whole = np.round(values)
    assert float(above(whole.sum(), len(values), mean)) == pytest.approx(bets(whole, mean, STEPS))


def test_a_canary_that_loses_as_much_as_stable_is_kept_and_one_that_loses_more_is_rolled_back() -> None:
    chance, policy, accused = np.random.default_rng(0), read_policy(), 0
    for worse in [False] * 60 + [True] * 5:
        stable = chance.beta(1, 4, 6000)
        canary = chance.beta(2, 4, 6000) if worse else chance.beta(1, 4, 6000)
        outcomes = set()
        for seen in (200, 1000, 3000, 6000):
            known, tried = (Arm(labelled=seen, right=seen - float(one[:seen].sum())) for one in (stable, canary))
            outcomes.add(decide(Evidence(known, tried), policy).outcome)
        if worse:
            assert "roll back" in outcomes
        else:
            accused += "roll back" in outcomes
    assert accused == 0


def test_what_was_seen_of_losses_is_written_to_a_tenth() -> None:
    verdict = decide(Evidence(Arm(labelled=9, right=7.25), Arm(labelled=4, right=4)), read_policy())
    [found] = [one for one in verdict.findings if one.gate == "accuracy"]
    assert found.observed == "right answers: canary 4 of 4, stable 7.2 of 9"
