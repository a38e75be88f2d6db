"""The threshold that is chosen keeps its promise on the clips that it was chosen by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.signflow.abstention import choose

clips = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.4, 0.5, 0.9]), st.booleans()), min_size=1, max_size=60)


def enough(kept: list[bool], wanted: float) -> bool:
    """Whether Wilson's lower bound is: the root of the score test's equation, one-sided 95 %."""
    share, z = sum(kept) / len(kept), 1.645
    return share >= wanted and len(kept) * (share - wanted) ** 2 >= z**2 * wanted * (1 - wanted)


@settings(deadline=None)
@given(clips, st.floats(0.05, 0.95))
def test_above_the_threshold_enough_are_right_and_below_it_are_not(
    found: list[tuple[float, bool]], wanted: float
) -> None:
    chosen = choose([one for one, _ in found], [right for _, right in found], wanted)
    for confidence in (0.1, 0.2, 0.4, 0.5, 0.9):
        kept = [right for probability, right in found if probability >= confidence]
        if confidence == chosen.confidence:
            assert sum(kept) / len(kept) == pytest.approx(chosen.right)
            assert enough(kept, wanted - 1e-9)
        elif confidence < chosen.confidence and kept:
            assert not enough(kept, wanted + 1e-9) or len(kept) == round(chosen.answered * len(found))


@pytest.mark.parametrize("right", [0.03, 0.5, 0.8])
def test_of_a_poor_model_no_answer_is_confident_by_luck(right: float) -> None:
    """Its probabilities say nothing; some of the likeliest clips are right all the same."""
    rng = np.random.default_rng(0)
    found = [choose(rng.random(512), rng.random(512) < right) for _ in range(100)]
    assert sum(one.answered > 0 for one in found) <= 5
    assert choose([0.9] * 24, [True] * 24).answered == 0 and choose([0.9] * 25, [True] * 25).answered == 1


def test_without_clips_there_is_no_threshold() -> None:
    with pytest.raises(ValueError, match="got none"):
        choose([], [], 0.9)


def test_what_is_chosen_by_some_people_holds_for_others() -> None:
    rng = np.random.default_rng(0)

    def people(count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        probabilities = rng.beta(2, 1, count)
        return probabilities, rng.random(count) < probabilities

    shares = []
    for _ in range(20):
        least = choose(*people(512)).confidence
        probabilities, right = people(20_000)
        answered = probabilities >= least
        assert answered.mean() < 0.9  # of all, only two in three are right
        shares.append(float(right[answered].mean()) if answered.any() else 1.0)
    assert min(shares) > 0.88 and sum(share >= 0.9 for share in shares) >= 18
