"""A person's takes are checked as they come, and kept small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from marina.products.live.takes import MOST_NUMBERS, MOST_SIGNS, TakesError, read_takes
from models.signflow.personal import MOST_TAKES


def test_takes_are_kept_as_numbers_of_four_bytes() -> None:
    read = read_takes({"type": "calibrate", "calibration_of": "abc", "prototypes": {"hello": [[0.5, 1], [2, -3.25]]}})
    assert read.keys() == {"calibration_of", "prototypes"} and read["calibration_of"] == "abc"
    kept = read["prototypes"]["hello"]
    assert kept.dtype == np.float32 and kept.tolist() == [[0.5, 1.0], [2.0, -3.25]]
    assert read_takes({}) == read_takes({"prototypes": {}, "calibration_of": "abc"}) == {}


@pytest.mark.parametrize(
    "prototypes",
    [
        [[[]]], "x", 7, {"a": []}, {"a": [[]]}, {"a": [1.0]}, {"a": [["1.0"]]}, {"a": [[True]]}, {"a": [[None]]},
        {"a": [[1e39]]}, {"a": [[1.0], [1.0, 2.0]]}, {"a": [[[1.0]]]}, {"a": [[1.0]] * (MOST_TAKES + 1)},
        {"a": [[1.0] * (MOST_NUMBERS + 1)]}, {"x" * 300: [[1.0]]},
        {str(number): [[1.0]] for number in range(MOST_SIGNS + 1)},
    ],
)  # fmt: skip
def test_what_is_no_takes_is_refused(prototypes: Any) -> None:
    with pytest.raises(TakesError, match="prototypes"):
        read_takes({"calibration_of": "abc", "prototypes": prototypes})


@pytest.mark.parametrize("origin", [None, 7, ["abc"], "x" * 300])
def test_takes_of_no_known_graph_are_refused(origin: Any) -> None:
    with pytest.raises(TakesError, match="calibration_of"):
        read_takes({"calibration_of": origin, "prototypes": {"a": [[1.0]]}})
