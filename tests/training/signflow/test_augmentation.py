from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.signflow.landmarks import (
    LEFT_HAND,
    LEFT_SHOULDER,
    LEFT_WRIST,
    POSE,
    RIGHT_HAND,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
)
from models.signflow.sequences import Frames, pad
from training.signflow.augmentation import NONE, Augmentation, augment
from training.signflow.synthetic.signing import Synthesis, generate

Padded = tuple[Frames, npt.NDArray[np.int64]]


@pytest.fixture(scope="module")
def batch() -> Padded:
    return pad(generate(Synthesis(signs=4, signers=2, takes=1)).sequences)


def test_without_augmentation_nothing_changes(batch: Padded) -> None:
    landmarks, lengths = augment(*batch, NONE, np.random.default_rng(0))
    np.testing.assert_allclose(landmarks, batch[0], atol=1e-5)
    np.testing.assert_array_equal(lengths, batch[1])


def test_equal_seeds_augment_equally(batch: Padded) -> None:
    first, second = (augment(*batch, Augmentation(), np.random.default_rng(3))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_hand_never_seen_stays_unseen(batch: Padded) -> None:
    landmarks = batch[0].reshape(*batch[0].shape[:2], 75, 3).copy()
    landmarks[:, :, LEFT_HAND] = 0
    how = replace(Augmentation(), mirror=0, other_hand=0)
    changed, _ = augment(landmarks.reshape(batch[0].shape), batch[1], how, np.random.default_rng(0))
    assert not changed.reshape(*changed.shape[:2], 75, 3)[:, :, LEFT_HAND].any()


def test_a_hand_that_is_never_tracked_is_shown_at_the_end_of_its_arm_and_a_second_one_lost(batch: Padded) -> None:
    whole = batch[0].reshape(*batch[0].shape[:2], 75, 3)
    both = [(whole[..., hand, :] != 0).any((1, 2, 3)) for hand in (LEFT_HAND, RIGHT_HAND)]
    without = whole.copy()
    without[:, :, LEFT_HAND] = 0
    how = replace(NONE, other_hand=1.0)

    def changed(points: Frames) -> Frames:
        found, _ = augment(points.reshape(batch[0].shape), batch[1], how, np.random.default_rng(0))
        return found.reshape(points.shape)

    shown = changed(without)
    posed = (without[:, :, LEFT_WRIST] != 0).any(-1)
    np.testing.assert_allclose(shown[:, :, LEFT_HAND.start, :2][posed], shown[:, :, LEFT_WRIST, :2][posed], atol=1e-6)
    assert not shown[:, :, LEFT_HAND][~posed].any()
    shoulder = without[:, :, LEFT_SHOULDER]
    hangs = (shown[:, :, LEFT_WRIST] != without[:, :, LEFT_WRIST]).any((1, 2))
    assert 0 < hangs.mean() < 1
    lowered = hangs[:, None] & posed & (shoulder != 0).any(-1) & (without[:, :, RIGHT_SHOULDER] != 0).any(-1)
    np.testing.assert_allclose(shown[:, :, LEFT_WRIST, 0][lowered], shoulder[..., 0][lowered], atol=1e-6)
    assert (shown[:, :, LEFT_WRIST, 1] > shoulder[..., 1])[lowered].all()  # y points down
    np.testing.assert_allclose(shown[:, :, RIGHT_HAND], without[:, :, RIGHT_HAND], atol=1e-6)
    lost = changed(whole)
    left = [(lost[..., hand, :] != 0).any((1, 2, 3)) for hand in (LEFT_HAND, RIGHT_HAND)]
    assert (left[0] ^ left[1])[both[0] & both[1]].all()


def test_a_mirrored_signer_uses_the_other_hand(batch: Padded) -> None:
    landmarks = batch[0].reshape(*batch[0].shape[:2], 75, 3).copy()
    landmarks[:, :, LEFT_HAND] = 0
    how = replace(NONE, mirror=1.0)
    changed, _ = augment(landmarks.reshape(batch[0].shape), batch[1], how, np.random.default_rng(0))
    changed = changed.reshape(*changed.shape[:2], 75, 3)
    assert not changed[:, :, RIGHT_HAND].any()
    seen = landmarks[:, :, RIGHT_HAND, 1] != 0
    np.testing.assert_allclose(changed[:, :, LEFT_HAND, 0][seen], 1 - landmarks[:, :, RIGHT_HAND, 0][seen], atol=1e-5)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 100))
def test_any_lengths_stay_whole_and_padded_with_zeros(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    sequences = [rng.normal(0.5, 0.1, (length, 225)).astype(np.float32) for length in lengths]
    changed, found = augment(*pad(sequences), Augmentation(), rng)
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert changed.shape == (len(lengths), found.max(), 225)
    assert (found >= 1).all()
    for row, length in zip(changed, found, strict=True):
        assert not row[length:].any()


def test_idling_shows_hanging_arms_before_and_after_and_keeps_the_sign(batch: Padded) -> None:
    landmarks, lengths = augment(*batch, replace(NONE, idle=1.0), np.random.default_rng(0))
    assert (lengths > batch[1] + 4).all()
    for row, length, old, own in zip(landmarks, lengths, *batch, strict=True):
        [at] = [i for i in range(length - own + 1) if np.allclose(row[i : i + own], old[:own], atol=1e-5)]
        assert 0 < at < length - own
        first = row[0].reshape(75, 3)
        assert first[15, 1] > first[13, 1] > first[11, 1]  # wrist, elbow, shoulder: y runs downwards


def test_a_slower_camera_shows_fewer_frames(batch: Padded) -> None:
    _, lengths = augment(*batch, replace(NONE, thin=1.0), np.random.default_rng(0))
    assert (lengths <= batch[1]).all()
    assert lengths.min() < batch[1].min() / 2


def test_turning_takes_a_hand_with_the_pose_s_wrist_and_turns_it_about_its_own() -> None:
    rng = np.random.default_rng(0)
    depth_of_body = 0.4
    scene = rng.uniform(0.2, 0.8, (4, 1, 75, 3)).astype(np.float32)  # in one system of depths
    for hand, wrist in ((LEFT_HAND, LEFT_WRIST), (RIGHT_HAND, RIGHT_WRIST)):
        scene[:, :, hand] = scene[:, :, [wrist]] + rng.normal(0, 0.05, (4, 1, 21, 3))
        scene[:, :, hand.start] = scene[:, :, wrist]
    sent = scene.copy()  # as MediaPipe gives it: the pose from the hips, a hand from its wrist
    sent[:, :, POSE, 2] -= depth_of_body
    for hand in (LEFT_HAND, RIGHT_HAND):
        sent[:, :, hand, 2] -= scene[:, :, [hand.start], 2]
    how, lengths = replace(NONE, yaw=0.6, roll=0.3), np.ones(4, np.int64)
    found, whole = (
        augment(one.reshape(4, 1, 225), lengths, how, np.random.default_rng(1))[0].reshape(4, 1, 75, 3)
        for one in (sent, scene)
    )
    np.testing.assert_allclose(found[..., :2], whole[..., :2], atol=1e-5)  # the picture is that of the turned scene
    assert np.abs(found[..., 0] - sent[..., 0]).max() > 0.05
    for hand in (LEFT_HAND, RIGHT_HAND):
        assert not found[:, :, hand.start, 2].any()
        expected = whole[:, :, hand, 2] - whole[:, :, [hand.start], 2]
        np.testing.assert_allclose(found[:, :, hand, 2], expected, atol=1e-5)


def test_a_hand_without_a_pose_turns_about_its_wrist(batch: Padded) -> None:
    landmarks = batch[0].reshape(*batch[0].shape[:2], 75, 3).copy()
    landmarks[:, :, POSE] = 0
    how = replace(NONE, yaw=0.3)
    changed, _ = augment(landmarks.reshape(batch[0].shape), batch[1], how, np.random.default_rng(0))
    before, after = (one.reshape(landmarks.shape)[:, :, RIGHT_HAND] for one in (landmarks, changed))
    old, new = (np.linalg.norm(hand[:, :, 1:] - hand[:, :, :1], axis=3) for hand in (before, after))
    np.testing.assert_allclose(new, old, atol=1e-5)
