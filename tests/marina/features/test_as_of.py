"""The as-of join as arrays, against a loop."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from marina.features.as_of import as_of

SMALL = st.integers(0, 5)


@given(
    st.lists(st.tuples(SMALL, SMALL, SMALL), max_size=30, unique=True),
    st.lists(st.tuples(SMALL, st.integers(0, 12)), max_size=20),
    st.booleans(),
)
def test_it_finds_what_a_loop_finds(
    rows: list[tuple[int, int, int]], asked: list[tuple[int, int]], by_known: bool
) -> None:
    told = [(entity, event, event + late) for entity, event, late in rows]
    table = np.array(told, np.int64).reshape(-1, 3)
    questions = np.array(asked, np.int64).reshape(-1, 2)
    found = as_of(table[:, 0], table[:, 1], table[:, 2], questions[:, 0], questions[:, 1], by_known)
    for (entity, at), place in zip(asked, found, strict=True):
        counting = [one for one in told if one[0] == entity and one[2 if by_known else 1] <= at]
        assert (None if place < 0 else told[place]) == max(counting, key=lambda one: one[1:], default=None)
