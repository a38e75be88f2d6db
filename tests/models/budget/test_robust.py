import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.budget.robust import mean, median, variance

ROWS = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.integers(1, 7)),
    elements=st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))),
)


@given(ROWS)
def test_gaps_are_left_out_as_numpy_would(rows: np.ndarray) -> None:
    for row, *found in zip(rows, mean(rows), median(rows), variance(rows, mean(rows)), strict=True):
        known = row[~np.isnan(row)]
        if not len(known):
            assert np.isnan(found).all()
            continue
        np.testing.assert_allclose(found, [known.mean(), np.median(known), known.var()], atol=1e-3, rtol=1e-6)
