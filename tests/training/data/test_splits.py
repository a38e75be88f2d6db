import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.splits import folds, holdout

SIGNERS = st.lists(st.sampled_from("abcdefg"), min_size=4, max_size=60).filter(lambda who: len(set(who)) > 2)


@given(SIGNERS, st.integers(0, 5))
def test_no_signer_stands_on_both_sides_of_a_fold_and_every_clip_is_tested_once(who, seed):
    signers = np.array(who)
    tested = []
    for train, test in folds(signers, 3, seed):
        assert not set(signers[train]) & set(signers[test])
        assert len(train) + len(test) == len(signers)
        tested += test.tolist()
    assert sorted(tested) == list(range(len(signers)))


@given(SIGNERS, st.floats(0.05, 0.95), st.integers(0, 5))
def test_no_signer_stands_on_both_sides_of_a_holdout(who, share, seed):
    signers = np.array(who)
    kept, aside = holdout(signers, share, seed)
    assert len(kept) and len(aside)
    assert not set(signers[kept]) & set(signers[aside])


def test_folds_are_of_about_equal_size():
    signers = np.repeat(np.arange(20), np.arange(1, 21)).astype(str)
    sizes = [len(test) for _, test in folds(signers, 4)]
    assert max(sizes) - min(sizes) <= 3


def test_more_folds_than_signers_are_refused():
    with pytest.raises(ValueError, match="2 to 3 folds"):
        folds(np.array(["a", "b", "c"]), 4)


def test_one_signer_cannot_be_split():
    with pytest.raises(ValueError, match="at least two signers"):
        holdout(np.array(["a", "a"]), 0.5)
