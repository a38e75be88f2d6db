import numpy as np
import pytest

from models.ranges import MISSING_SHARE
from models.summary import key_numbers

ROWS = np.array([[1, 2, np.nan, 4], [5, np.nan, np.nan, 8]], np.float32)
FEATURES = ("a", "b", "c", "d")


def test_numbers_come_in_the_order_of_their_names_and_what_is_missing_stays_so() -> None:
    found = key_numbers(ROWS, FEATURES, ("d", MISSING_SHARE, "b"))
    np.testing.assert_array_equal(found, np.array([[4, 0.25, 2], [8, 0.5, np.nan]], np.float32))
    assert found.dtype == np.float32


def test_nothing_may_be_asked_for() -> None:
    assert key_numbers(ROWS, FEATURES, ()).shape == (2, 0)


def test_a_name_that_is_no_feature_is_refused() -> None:
    with pytest.raises(ValueError):
        key_numbers(ROWS, FEATURES, ("e",))
