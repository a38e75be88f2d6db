import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.signflow.landmarks import LANDMARKS, LEFT_HAND, MIRROR, RIGHT_HAND
from models.signflow.network import SignFlow, configure
from models.signflow.sequences import Frames
from models.signflow.views import NAMES, views


def frames_of(length: int, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).normal(0.5, 0.2, (length, 225)).astype(np.float32)


def view(name: str, frames: Frames) -> Frames:
    return views(frames)[NAMES.index(name)]


def points(frames: Frames) -> Frames:
    return frames.reshape(-1, LANDMARKS, 3)


def logits(*sequences: Frames) -> list[torch.Tensor]:
    torch.manual_seed(0)
    network = SignFlow(configure("small", 8)).eval()
    with torch.inference_mode():
        return [network(torch.from_numpy(one)[None], torch.tensor([len(one)]))[0] for one in sequences]


def missing(frames: Frames) -> npt.NDArray[np.bool_]:
    """Return which landmarks the network counts as missing, bool [T, 75]."""
    network = SignFlow(configure("small", 2))
    mask = torch.ones(1, len(frames))
    # the last feature says whether a landmark is there; signers are right-handed here
    hidden: npt.NDArray[np.bool_] = network.features(torch.from_numpy(frames)[None], mask)[-1, :, 0].T.numpy() == 0
    return hidden


def test_the_first_view_is_the_sequence_itself() -> None:
    frames = frames_of(20)
    assert np.array_equal(views(frames)[0], frames)
    assert all(one.dtype == np.float32 and one.shape[1] == 225 for one in views(frames))


def test_a_mirror_swaps_left_and_right_and_turns_x_only() -> None:
    frames = frames_of(12)
    mirrored = points(view("mirror", frames))
    left, right = points(frames)[:, LEFT_HAND], mirrored[:, RIGHT_HAND]
    assert np.array_equal(left[..., 1:], right[..., 1:])
    assert left[..., 0] + right[..., 0] == pytest.approx(np.full((12, 21), left[0, 0, 0] + right[0, 0, 0]), abs=1e-5)
    assert view("mirror", view("mirror", frames)) == pytest.approx(frames, abs=1e-5)


def test_a_mirror_knows_no_unit_and_no_origin() -> None:
    frames = frames_of(12)
    pixels = np.float32(640) * frames + np.float32(100)
    assert view("mirror", pixels) == pytest.approx(640 * view("mirror", frames) + 100, abs=1e-2)


@pytest.mark.parametrize("hidden", [LEFT_HAND, RIGHT_HAND])
def test_the_network_already_mirrors_whoever_shows_one_hand_more_often(hidden: slice) -> None:
    frames = frames_of(20)
    points(frames)[3:, hidden] = 0
    own, mirrored = logits(frames, view("mirror", frames))
    torch.testing.assert_close(own, mirrored, atol=1e-4, rtol=1e-4)


def test_the_mirror_is_another_view_of_who_shows_both_hands_alike() -> None:
    frames = frames_of(20)
    own, mirrored = logits(frames, view("mirror", frames))
    assert (own - mirrored).abs().max() > 1e-2


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mirror"])
def test_what_is_missing_stays_missing(name: str) -> None:
    frames = frames_of(10)
    cube = points(frames)
    cube[:, LEFT_HAND] = 0
    cube[:, 5] = np.nan
    cube[:, 60, 0] = np.nan
    cube[:, 7] = 0
    cube[:, RIGHT_HAND.start] = 0  # a wrist at the origin of its hand is not missing
    seen = ~missing(view(name, frames))
    assert (seen == ~missing(frames)[:1]).all()
    assert seen[:, RIGHT_HAND.start].all()


def test_the_mirror_of_a_missing_landmark_is_missing() -> None:
    frames = frames_of(10)
    cube = points(frames)
    cube[:, LEFT_HAND] = 0
    cube[2, 11] = np.nan
    mirrored = points(view("mirror", frames))
    assert not mirrored[:, RIGHT_HAND].any()
    assert np.isnan(mirrored[2, MIRROR[11]]).all() and np.isfinite(mirrored[3:]).all()


def test_speeds_are_five_percent_apart_from_the_sequences_own() -> None:
    frames = np.linspace(0.1, 0.9, 100, dtype=np.float32)[:, None] * np.ones(225, np.float32)
    for name, length in (("slower", 105), ("faster", 95)):
        other = view(name, frames)
        assert len(other) == length
        assert other[:, 0] == pytest.approx(np.linspace(0.1, 0.9, length), abs=1e-6)


def test_between_a_seen_and_a_missing_landmark_there_is_nothing() -> None:
    frames = frames_of(40)
    points(frames)[20:, RIGHT_HAND] = 0
    points(frames)[10:12, 3] = np.nan
    for name in ("slower", "faster"):
        hand = points(view(name, frames))[:, RIGHT_HAND]
        seen = np.asarray(hand.any((1, 2)))
        assert 17 <= seen.sum() <= 23 and not seen[24:].any()
        assert np.abs(hand[seen]).mean() > 0.4  # not drawn towards zero
        assert 1 <= np.isnan(view(name, frames)).any(1).sum() <= 3


def test_noise_is_bounded_repeatable_and_other_for_other_content() -> None:
    frames = frames_of(30)
    reach = max(np.ptp(points(frames)[..., 0]), np.ptp(points(frames)[..., 1]))
    moved = np.abs(view("noise", frames) - frames)
    assert 0.004 * reach < moved.max() <= 0.00501 * reach
    assert np.array_equal(view("noise", frames), view("noise", frames.copy()))
    other = frames.copy()
    other[0, 0] += 0.01
    assert not np.array_equal(view("noise", other) - other, view("noise", frames) - frames)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_sequence_with_nothing_in_it_has_views_all_the_same(value: float) -> None:
    assert [len(one) for one in views(np.full((3, 225), value, np.float32))] == [3] * 5


def test_a_single_frame_has_views() -> None:
    assert [len(one) for one in views(frames_of(1))] == [1] * 5
