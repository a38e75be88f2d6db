import numpy as np

from models.signflow.landmarks import AXES, LEFT_HAND, WIDTH
from models.signflow.plausibility import measure
from models.signflow.summary import SUMMARY, summarise_frames
from tests.families.signflow import frames_of


def test_a_sequence_is_described_by_what_is_measured_of_it_and_by_its_hands() -> None:
    frames = frames_of(20)
    frames[5:, LEFT_HAND.start * AXES : LEFT_HAND.stop * AXES] = 0
    said = dict(zip(SUMMARY, summarise_frames(frames).tolist(), strict=True))
    assert (said["frames"], said["left_hand_share"]) == (20, 0.25)
    measured = measure(frames)
    np.testing.assert_allclose([said[name] for name in measured], [*measured.values()], rtol=1e-6)


def test_what_cannot_be_measured_is_missing() -> None:
    frames = np.zeros((2, WIDTH), np.float32)
    frames[:, 0] = 0.5  # a nose alone
    said = dict(zip(SUMMARY, summarise_frames(frames).tolist(), strict=True))
    assert (said["left_hand_share"], said["frames"]) == (0, 2)
    assert np.isnan(said["face_size"]) and np.isnan(said["hand_size"])
