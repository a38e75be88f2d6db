import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.signflow.sequences import Frames
from training.signflow.active_learning import STRATEGIES, entropy, highest, margin

CERTAIN, TIE, NOTHING = [1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]
RNG = np.random.default_rng(0)


def test_entropy_runs_from_certain_to_knowing_nothing() -> None:
    np.testing.assert_allclose(entropy(np.array([CERTAIN, TIE, NOTHING]), RNG), [0, 0.5, 1])


def test_margin_tells_a_tie_of_two_from_no_more_than_that() -> None:
    np.testing.assert_allclose(margin(np.array([CERTAIN, [0.6, 0.3, 0.1, 0], TIE, NOTHING]), RNG), [0, 0.7, 1, 1])


@given(arrays(np.float32, (5, 4), elements=st.floats(2**-7, 1, width=32)), st.permutations(range(4)))
def test_scores_lie_between_0_and_1_whatever_the_signs_are_called(weights: Frames, order: list[int]) -> None:
    probabilities = weights / weights.sum(1, keepdims=True)
    for score in (entropy, margin):
        scores = score(probabilities, RNG)
        assert ((scores >= -1e-6) & (scores <= 1 + 1e-6)).all()
        np.testing.assert_allclose(scores, score(probabilities[:, list(order)], RNG), atol=1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_generators_choose_equal_clips(strategy: str) -> None:
    probabilities = np.random.default_rng(1).dirichlet(np.ones(3), 50)
    first, again = (STRATEGIES[strategy](probabilities, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(highest(first, 10), highest(again, 10))


def test_the_highest_come_first_and_equal_ones_in_their_order() -> None:
    assert highest(np.array([0.1, 0.9, 0.5, 0.9]), 3).tolist() == [1, 3, 2]
