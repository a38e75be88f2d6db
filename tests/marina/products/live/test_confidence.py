"""The threshold that is chosen keeps its promise on the clips that it was chosen by."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.products.live.confidence import ConfidenceError, choose

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
    with pytest.raises(ConfidenceError):
        choose([], [], 0.9)
