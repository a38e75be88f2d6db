"""The recorded sets themselves, where they are at hand: in ``MARINA_RECORDED_DATA``, a folder per family."""

import os
from pathlib import Path

import pytest
from rich.console import Console

from training.data import splits
from training.signflow import recorded
from training.signflow.cross_validation import cross_validate, markdown

FOLDER = Path(os.environ.get("MARINA_RECORDED_DATA", "/nowhere")) / "signflow"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no recorded data: set MARINA_RECORDED_DATA to a folder with signflow/*.npz"
)


@pytest.mark.parametrize(
    ("name", "clips", "signs", "signers"),
    [
        ("common_signs", 1749, 13, 61),
        ("nsl_alphabet", 636, 49, 4),
        ("wlasl50", 298, 50, 9),
        ("vocab_by_source", 1860, 259, 10),
    ],
)
def test_each_set_is_read_whole_and_split_by_what_tells_signers_apart(
    name: str, clips: int, signs: int, signers: int
) -> None:
    found, faults = recorded.read(FOLDER / f"{name}.npz")
    assert len(found) == clips
    assert len(found.signs) == signs
    assert len(set(found.signers)) == signers
    assert len(faults) == (name == "nsl_alphabet")
    for train, test in splits.folds(found.signers, 4):
        assert not set(found.signers[train]) & set(found.signers[test])


@pytest.mark.slow
def test_one_fold_of_unseen_signers_beats_the_plain_baseline() -> None:
    result = cross_validate(FOLDER / "wlasl50.npz", "small", 4, Console(quiet=True), only=[1])
    assert result.mean("network", "accuracy") > 0.44 > result.mean("baseline", "accuracy")
    assert "wlasl50" in markdown([result])
