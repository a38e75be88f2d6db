import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.splits import by_time, folds, holdout

SIGNERS = st.lists(st.sampled_from("abcdefg"), min_size=4, max_size=60).filter(lambda who: len(set(who)) > 2)


@given(SIGNERS, st.integers(0, 5))
def test_no_signer_stands_on_both_sides_of_a_fold_and_every_clip_is_tested_once(who: list[str], seed: int) -> None:
    signers = np.array(who)
    tested = []
    for train, test in folds(signers, 3, seed):
        assert not set(signers[train]) & set(signers[test])
        assert len(train) + len(test) == len(signers)
        tested += test.tolist()
    assert sorted(tested) == list(range(len(signers)))


@given(SIGNERS, st.floats(0.05, 0.95), st.integers(0, 5))
def test_no_signer_stands_on_both_sides_of_a_holdout(who: list[str], share: float, seed: int) -> None:
    signers = np.array(who)
    kept, aside = holdout(signers, share, seed)
    assert len(kept) and len(aside)
    assert not set(signers[kept]) & set(signers[aside])


def test_folds_are_of_about_equal_size() -> None:
    signers = np.repeat(np.arange(20), np.arange(1, 21)).astype(str)
    sizes = [len(test) for _, test in folds(signers, 4)]
    assert max(sizes) - min(sizes) <= 3


def test_more_folds_than_signers_are_refused() -> None:
    with pytest.raises(ValueError, match="2 to 3 folds"):
        folds(np.array(["a", "b", "c"]), 4)


def test_one_signer_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="at least two groups"):
        holdout(np.array(["a", "a"]), 0.5)


def test_by_time_trains_on_the_past_and_leaves_an_embargo() -> None:
    times = np.datetime64("2024-01-01") + np.random.default_rng(0).permutation(np.repeat(np.arange(300), 3))
    parts = by_time(times, 4, np.timedelta64(7, "D"))
    assert len(parts) == 4
    for train, test in parts:
        assert times[train].max() < times[test].min() - np.timedelta64(7, "D")
        assert len(test) >= 150
    tested = np.concatenate([test for _, test in parts])
    assert len(np.unique(tested)) == len(tested)


def test_by_time_never_divides_an_instant() -> None:
    times = np.repeat(np.arange(5), [40, 1, 1, 1, 40])
    for train, test in by_time(times, 2):
        assert not set(times[train]) & set(times[test])


def test_an_embargo_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 rows to train on"):
        by_time(np.arange(10), 2, 100)
