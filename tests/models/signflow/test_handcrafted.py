import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from marina.settings import ROOT
from models.signflow.features import LandmarkFeatures
from models.signflow.handcrafted import GROUPS, HANDCRAFTED, ROLL_FREE, TURN_FREE, UPPER, HandcraftedFeatures
from models.signflow.landmarks import LEFT_HAND, NAMES, RIGHT_HAND
from training.signflow.synthetic.signing import Synthesis, generate

Points = npt.NDArray[Any]


@pytest.fixture(scope="module")
def clip() -> Points:
    """Both hands seen in every frame, float32 [T, 75, 3]."""
    clips = generate(Synthesis(signs=8, signers=1, takes=1))
    both = [one.reshape(-1, 75, 3) for one in clips.sequences]
    frames = max(both, key=lambda one: (one[:, (LEFT_HAND.start, RIGHT_HAND.start)] != 0).any(2).all(1).sum())
    whole: Points = frames[(frames[:, (LEFT_HAND.start, RIGHT_HAND.start)] != 0).any(2).all(1)]
    return whole


def measure(points: Points) -> dict[str, Points]:
    """Measure frames [T, 75, 3]; one array [T, count] per group."""
    landmarks = torch.from_numpy(np.ascontiguousarray(points, np.float32)).reshape(1, -1, 225)
    features = LandmarkFeatures()(landmarks, torch.ones(landmarks.shape[:2]))
    found = HandcraftedFeatures()(features)[0]
    assert torch.isfinite(found).all()
    return dict(zip(GROUPS, (part.numpy() for part in found.split(list(GROUPS.values()), dim=1)), strict=True))


def turned(points: Points, axis: int) -> Points:
    """Rotate the scene, origin included."""
    angle = 0.4
    keep = [at for at in range(3) if at != axis]
    matrix = np.eye(3)
    matrix[np.ix_(keep, keep)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return points @ matrix.T


def test_there_are_469(clip: Points) -> None:
    assert HANDCRAFTED == 469
    assert sum(part.shape[1] for part in measure(clip).values()) == 469


def test_every_feature_tells_something_but_the_depths_that_are_left_out(clip: Points) -> None:
    flat = {
        "body_places": [*range(26, 39)],
        "body_velocities": [*range(26, 39)],
        "hand_places": [24, 30],  # of the wrists, from which depths count
        "hand_velocities": [24, 30],
        "arm_directions": [8, 9, 10, 11],
        "hands_apart": [2],
    }
    for name, part in measure(clip).items():
        constant = np.flatnonzero(part.std(0) < 1e-6)
        assert name == "presence" or constant.tolist() == flat.get(name, []), name
        assert name == "presence" or not part[:, constant].any(), name


def test_the_depth_of_a_hand_is_never_held_against_the_body_or_the_other_hand(clip: Points) -> None:
    before, deeper = measure(clip), clip.copy()
    deeper[:, RIGHT_HAND, 2] *= 3
    after = measure(deeper)
    for name in ("hands_to_body", "hands_apart", "hands_distances"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-5, err_msg=name)
    assert np.abs(after["hand_shapes"] - before["hand_shapes"]).max() > 0.05
    nose, palm, left = UPPER.index("nose"), before["hands_to_body"].reshape(-1, 2, 2, 11)[:, 0, 0], LEFT_HAND.start
    points = clip[:, [left, left + 5, left + 9, left + 13, left + 17], :2].mean(1) - clip[:, 0, :2]
    width = np.linalg.norm((clip[:, 11] - clip[:, 12])[:, :2], axis=1).mean()
    mirrored = (clip[:, LEFT_HAND.start] != 0).any(1).sum() > (clip[:, RIGHT_HAND.start] != 0).any(1).sum()
    assert not mirrored
    np.testing.assert_allclose(palm[:, nose], np.linalg.norm(points, axis=1) / width, rtol=1e-3)


def test_neither_place_nor_size_in_the_picture_matters(clip: Points) -> None:
    moved = measure(np.where(clip != 0, clip * 0.6 + [0.3, -0.2, 0.1], 0))
    for name, part in measure(clip).items():
        np.testing.assert_allclose(moved[name], part, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lengths_and_angles_do_not_depend_on_how_the_camera_is_turned(clip: Points, axis: int) -> None:
    before, after = measure(clip), measure(turned(clip, axis))
    same = {name for name in GROUPS if np.allclose(after[name], before[name], atol=5e-4)}
    # nodding leaves the shoulders' width in the picture as it is, and hands keep their depth
    assert same == {0: TURN_FREE | {"hand_sizes"}, 1: TURN_FREE, 2: ROLL_FREE}[axis]


def hand(tips: Callable[[Points], Points]) -> Points:
    """Put a right hand whose fingers run straight from the knuckles to `tips` into a frame with a body."""
    frame = np.zeros((75, 3))
    frame[:33] = np.random.default_rng(0).normal(0, 0.3, (33, 3))
    frame[NAMES.index("pose_left_shoulder")], frame[NAMES.index("pose_right_shoulder")] = (0.5, 0, 0), (-0.5, 0, 0)
    knuckles = np.array([[-2, 1, 0], [-1, 2, 0], [0, 2, 0], [1, 2, 0], [2, 2, 0]]) / 20
    share = np.linspace(0, 1, 4)[:, None]
    fingers = [knuckle + share * (tip - knuckle) for knuckle, tip in zip(knuckles, tips(knuckles), strict=True)]
    frame[RIGHT_HAND] = np.concatenate([np.zeros((1, 3)), *fingers])
    return frame[None]


def test_straight_fingers_have_no_curl_and_bent_joints_show(clip: Points) -> None:
    straight = hand(lambda knuckles: 2 * knuckles)
    found = measure(straight)
    right = (slice(None), slice(5, 10))
    np.testing.assert_allclose(found["finger_curls"][right], 1, atol=1e-5)
    np.testing.assert_allclose(found["joint_angles"].reshape(2, 5, 3)[1], 1, atol=1e-5)
    bent = straight.copy()
    index_tip = RIGHT_HAND.start + 8
    bent[0, index_tip] = bent[0, index_tip - 1] + [0, 0, np.linalg.norm(bent[0, index_tip] - bent[0, index_tip - 1])]
    after = measure(bent)
    assert after["finger_curls"][0, 6] < 0.8
    np.testing.assert_allclose(after["joint_angles"].reshape(2, 5, 3)[1, 1], [1, 1, 0], atol=1e-5)


def test_parallel_fingers_are_not_spread() -> None:
    found = measure(hand(lambda knuckles: knuckles + np.array([0, 0.1, 0])))
    np.testing.assert_allclose(found["finger_spreads"].reshape(2, 4)[1], 1, atol=1e-5)
    np.testing.assert_allclose(np.abs(found["palm_directions"].reshape(3, 2, 2)[:, 1, 0]), [0, 0, 1], atol=1e-5)


def test_all_ten_pairs_of_fingertips_are_measured() -> None:
    tips = np.random.default_rng(1).normal(0, 0.1, (5, 3))
    found = np.sort(measure(hand(lambda _: tips))["tip_distances"].reshape(2, 10)[1])
    apart = np.linalg.norm(tips[:, None] - tips, axis=2)[np.triu_indices(5, 1)]
    np.testing.assert_allclose(found / found[0], np.sort(apart) / apart.min(), rtol=1e-4)


def test_a_missing_hand_measures_zero(clip: Points) -> None:
    without = clip.copy()
    without[:, LEFT_HAND] = 0
    found = measure(without)
    for name in ("hand_shapes", "hands_to_body", "joint_angles", "tip_reaches", "finger_curls", "hand_sizes"):
        shape = {"hand_shapes": (3, 2, 20), "hands_to_body": (2, 22), "joint_angles": (2, 15)}.get(name, (2, -1))
        left = np.moveaxis(found[name].reshape(len(clip), *shape), -2, 0)[0]
        assert not left.any(), name
    assert not any(found[name].any() for name in ("hands_apart", "hands_distances", "hands_closing"))
    assert found["presence"].tolist() == [[1, 0, 1]] * len(clip)


def test_a_missing_arm_does_not_pretend_to_be_at_the_chest(clip: Points) -> None:
    without = clip.copy()
    without[:, NAMES.index("pose_left_elbow")] = np.nan
    found = measure(without)
    assert not found["arm_angles"][:, 0].any()
    elbow = 7
    assert not found["hands_to_body"].reshape(-1, 2, 2, 11)[..., elbow].any()


def test_the_page_describes_every_group() -> None:
    page = (ROOT / "docs" / "families" / "signflow_features.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|.*\| (yes|in the picture)? ?\|$", page, re.MULTILINE)
    assert {name: int(count) for name, count, _ in rows} == GROUPS
    assert {name for name, _, turned in rows if turned == "yes"} == TURN_FREE
    assert {name for name, _, turned in rows if turned} == ROLL_FREE
