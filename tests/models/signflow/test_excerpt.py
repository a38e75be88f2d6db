import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.signflow.excerpt import SAMPLES, excerpt, excerpts, find_seen
from models.signflow.landmarks import AXES, LANDMARKS, LEFT_HAND, RIGHT_HAND, RIGHT_WRIST, WIDTH
from models.signflow.sequences import Frames, pad
from tests.families.signflow import frames_of
from training.signflow.synthetic.signing import Synthesis, generate

CLIPS = generate(Synthesis(signs=4, signers=2, takes=1)).sequences


def empty(count: int, value: float) -> Frames:
    return np.full((count, WIDTH), value, np.float32)


@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("frames", CLIPS[:3])
def test_frames_with_nothing_seen_carry_no_time(frames: Frames, value: float) -> None:
    padded = np.concatenate([empty(9, value), frames, empty(160, value)])
    np.testing.assert_array_equal(excerpt(padded), excerpt(frames))


def test_frames_without_hands_at_the_ends_carry_no_time() -> None:
    frames = frames_of(30)
    resting = np.repeat(frames[:1], 20, 0)
    resting[:, LEFT_HAND.start * AXES :] = 0
    np.testing.assert_array_equal(excerpt(np.concatenate([resting, frames, resting])), excerpt(frames))


@given(st.sampled_from(CLIPS), st.integers(0, 90), st.integers(0, 90))
def test_however_long_the_ends_are_held_the_excerpt_is_the_same(frames: Frames, before: int, after: int) -> None:
    seen = find_seen(frames.reshape(-1, LANDMARKS, AXES))
    hands = seen[:, LEFT_HAND.start] | seen[:, RIGHT_HAND.start]
    frames = frames[hands.argmax() : len(hands) - hands[::-1].argmax()]
    held = np.concatenate([np.repeat(frames[:1], before, 0), frames, np.repeat(frames[-1:], after, 0)])
    np.testing.assert_allclose(excerpt(held), excerpt(frames), atol=1e-5)


@pytest.mark.parametrize("times", [2, 4])
def test_more_frames_a_second_show_the_same(times: int) -> None:
    frames = frames_of(40)
    at = np.arange(0, len(frames) - 1 + 1e-6, 1 / times)
    low = np.minimum(at.astype(int), len(frames) - 2)
    share = (at - low).astype(np.float32)[:, None]
    faster = frames[low] * (1 - share) + frames[low + 1] * share
    assert np.abs(excerpt(faster) - excerpt(frames)).max() < 0.05
    assert np.abs(excerpt(faster) - excerpt(frames)).mean() < 0.003


def test_a_hand_lost_for_a_moment_is_filled_in_and_one_lost_for_long_is_not() -> None:
    frames = frames_of(60)
    points = frames.reshape(-1, LANDMARKS, AXES).copy()
    points[20:22, RIGHT_HAND] = 0
    assert find_seen(excerpt(points.reshape(frames.shape)).reshape(-1, LANDMARKS, AXES))[:, RIGHT_HAND].all()
    points[15:45, RIGHT_HAND] = np.nan
    assert not find_seen(excerpt(points.reshape(frames.shape)).reshape(-1, LANDMARKS, AXES))[:, RIGHT_HAND].all()


def test_an_idle_hand_in_view_is_as_one_out_of_view() -> None:
    frames = frames_of(40)
    points = frames.reshape(-1, LANDMARKS, AXES).copy()
    moving = np.linspace(0, 0.5, len(points), dtype=np.float32)
    points[:, [16, *range(54, 75)], 1] = (0.3 + moving)[:, None]  # the right hand goes down, the left one hangs
    points[:, [15, *range(33, 54)]] = [0.8, 0.95, 0.0]
    points[:, [11, 13]] = [[0.7, 0.4, 0.0], [0.8, 0.6, 0.0]]
    points[:, 12] = [0.4, 0.4, 0.0]
    hidden = points.copy()
    hidden[:, LEFT_HAND] = 0
    shown, alone = (excerpt(one.reshape(frames.shape)) for one in (points, hidden))
    np.testing.assert_array_equal(shown, alone)
    points[:, [16, *range(54, 75)], 1] = 0.3  # the sign is a still one
    assert not excerpt(points.reshape(frames.shape)).reshape(-1, LANDMARKS, AXES)[:, LEFT_HAND].any()
    points[:, LEFT_HAND, 1] += moving[:, None]  # it is no longer idle
    points[:, 15, 1] += moving
    assert excerpt(points.reshape(frames.shape)).reshape(-1, LANDMARKS, AXES)[:, LEFT_HAND].any()


@pytest.mark.parametrize(
    "frames", [frames_of(1), frames_of(2), empty(5, 0.0), empty(1, np.nan), np.repeat(frames_of(1), 30, 0)]
)
def test_whatever_is_sent_there_are_as_many_finite_frames(frames: Frames) -> None:
    shown = excerpt(frames)
    assert shown.shape == (SAMPLES, WIDTH)
    assert shown.dtype == np.float32
    assert np.isfinite(shown).all()


def test_a_batch_is_shown_as_each_sequence_alone() -> None:
    together = excerpts(*pad(CLIPS))
    for shown, frames in zip(together, CLIPS, strict=True):
        np.testing.assert_array_equal(shown, excerpt(frames))


def test_a_wrist_at_the_origin_is_seen_with_its_hand() -> None:
    points = frames_of(3).reshape(-1, LANDMARKS, AXES).copy()
    points[:, RIGHT_HAND.start] = 0
    points[0, RIGHT_WRIST] = 0
    seen = find_seen(points)
    assert seen[:, RIGHT_HAND].all()
    assert seen[:, RIGHT_WRIST].tolist() == [False, True, True]
