from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.signflow.landmarks import LEFT_HAND, RIGHT_HAND
from models.signflow.sequences import pad
from training.data.signflow_synthetic import Synthesis, generate
from training.signflow_augment import NONE, Augmentation, augment


@pytest.fixture(scope="module")
def batch():
    return pad(generate(Synthesis(signs=4, signers=2, takes=1)).sequences)


def test_without_augmentation_nothing_changes(batch):
    landmarks, lengths = augment(*batch, NONE, np.random.default_rng(0))
    np.testing.assert_allclose(landmarks, batch[0], atol=1e-5)
    np.testing.assert_array_equal(lengths, batch[1])


def test_equal_seeds_augment_equally(batch):
    first, second = (augment(*batch, Augmentation(), np.random.default_rng(3))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_hand_never_seen_stays_unseen(batch):
    landmarks = batch[0].reshape(*batch[0].shape[:2], 75, 3).copy()
    landmarks[:, :, LEFT_HAND] = 0
    how = replace(Augmentation(), mirror=0)
    changed, _ = augment(landmarks.reshape(batch[0].shape), batch[1], how, np.random.default_rng(0))
    assert not changed.reshape(*changed.shape[:2], 75, 3)[:, :, LEFT_HAND].any()


def test_a_mirrored_signer_uses_the_other_hand(batch):
    landmarks = batch[0].reshape(*batch[0].shape[:2], 75, 3).copy()
    landmarks[:, :, LEFT_HAND] = 0
    how = replace(NONE, mirror=1.0)
    changed, _ = augment(landmarks.reshape(batch[0].shape), batch[1], how, np.random.default_rng(0))
    changed = changed.reshape(*changed.shape[:2], 75, 3)
    assert not changed[:, :, RIGHT_HAND].any()
    seen = landmarks[:, :, RIGHT_HAND, 1] != 0
    np.testing.assert_allclose(changed[:, :, LEFT_HAND, 0][seen], 1 - landmarks[:, :, RIGHT_HAND, 0][seen], atol=1e-5)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 100))
def test_any_lengths_stay_whole_and_padded_with_zeros(lengths, seed):
    rng = np.random.default_rng(seed)
    sequences = [rng.normal(0.5, 0.1, (length, 225)).astype(np.float32) for length in lengths]
    changed, found = augment(*pad(sequences), Augmentation(), rng)
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert changed.shape == (len(lengths), found.max(), 225)
    assert (found >= 1).all()
    for row, length in zip(changed, found, strict=True):
        assert not row[length:].any()
