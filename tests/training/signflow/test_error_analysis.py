import numpy as np
import pytest

from models.signflow.landmarks import RIGHT_HAND
from training.signflow.clips import Clips
from training.signflow.error_analysis import Judged, by, concentration, confusions, hands_seen


@pytest.fixture
def judged() -> Judged:
    """Two people make two signs twice each; the second person's "no" is always taken for "yes"."""
    labels = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    said = np.array([0, 0, 1, 1, 1, 1, 1, 0])
    clips = Clips((np.ones((4, 225), np.float32),) * 8, labels, ("no", "yes"), np.repeat(["ann", "bob"], 4))
    return Judged(clips, np.eye(2, dtype=np.float32)[said])


def test_errors_that_are_a_persons_way_of_signing_are_told_from_single_takes(judged: Judged) -> None:
    found = concentration(judged)
    assert found["errors where a person's every take of a sign is wrong"] == pytest.approx(2 / 3)
    assert found["errors by the worst quarter of people"] == 1
    assert found["people with accuracy 0.9 or more"] == 0.5


def test_tables_count_clips_and_name_what_is_taken_for_what(judged: Judged) -> None:
    assert "| bob | 4 | 0.25 |" in by(judged, "person", judged.clips.signers)
    assert "| no | yes | 2 | 4 |" in confusions(judged)


def test_the_hand_that_is_seen_more_often_counts() -> None:
    frames = np.zeros((10, 75, 3), np.float32)
    frames[:7, RIGHT_HAND] = 1
    assert hands_seen([frames.reshape(-1, 225), np.zeros((3, 225), np.float32)]).tolist() == [
        "half to 0.9",
        "under half",
    ]
