from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.signflow.sequences import MAX_FRAMES, as_frames, pad


@pytest.mark.parametrize("shape", [(7, 225), (7, 75, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_frames_of_either_shape_and_any_real_type_become_float32(shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    frames = as_frames(np.ones(shape, dtype))
    assert frames.shape == (7, 225)
    assert frames.dtype == np.float32


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 224)), r"\[3, 224\]"),
        (np.zeros((3, 226)), r"\[3, 226\]"),
        (np.zeros((3, 3, 75)), r"\[3, 3, 75\]"),
        (np.zeros(225), r"\[225\]"),
        (np.zeros((0, 225)), "got 0"),
        (np.zeros((MAX_FRAMES + 1, 225)), f"got {MAX_FRAMES + 1}"),
        (np.zeros((3, 225), dtype=bool), "dtype bool"),
        (np.zeros((3, 225), dtype=complex), "dtype complex"),
        (np.full((3, 225), "a"), "dtype <U1"),
    ],
)
def test_what_is_no_sequence_is_refused_with_what_came(array: npt.NDArray[Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        as_frames(array)


def test_a_value_beyond_float32_becomes_infinite_without_a_warning() -> None:
    assert np.isinf(as_frames(np.full((1, 225), 1e300))).all()


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_padding_keeps_every_sequence_and_adds_zeros(lengths: list[int]) -> None:
    sequences = [np.full((length, 225), index + 1, np.float32) for index, length in enumerate(lengths)]
    batch, found = pad(sequences)
    assert found.tolist() == lengths
    for row, sequence in zip(batch, sequences, strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], sequence)
        assert not row[len(sequence) :].any()


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sequence"):
        pad([])
