"""The threshold that is chosen keeps its promise on the clips that it was chosen by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.signflow.abstention import choose

clips = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.4, 0.5, 0.9]), st.booleans()), min_size=1, max_size=60)


@settings(deadline=None)
@given(clips, st.floats(0.05, 1))
def test_above_the_threshold_the_wanted_share_is_right_and_below_it_is_not(
    found: list[tuple[float, bool]], wanted: float
) -> None:
    chosen = choose([one for one, _ in found], [right for _, right in found], wanted)
    for confidence in (0.1, 0.2, 0.4, 0.5, 0.9):
        kept = [right for probability, right in found if probability >= confidence]
        share = sum(kept) / len(kept) if kept else 0.0
        if confidence == chosen.confidence:
            assert share == pytest.approx(chosen.right) and share >= wanted
        elif confidence < chosen.confidence and kept:
            assert share < wanted or len(kept) == round(chosen.answered * len(found))


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
        assert 0.1 < answered.mean() < 0.9  # of all, only two in three are right
        shares.append(float(right[answered].mean()))
    assert min(shares) > 0.85 and np.mean(shares) > 0.89
