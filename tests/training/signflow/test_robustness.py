import numpy as np
import numpy.typing as npt
import pytest

from models.signflow.sequences import Frames
from training.signflow.clips import Clips
from training.signflow.robustness import (
    DISTURBANCES,
    change_rate,
    describe,
    lose_second_hand,
    measure_robustness,
    show_second_hand,
)
from training.signflow.synthetic.signing import Synthesis, generate


@pytest.fixture(scope="module")
def clips() -> Clips:
    return generate(Synthesis(signs=4, signers=2, takes=1))


def test_an_answer_that_never_changes_is_always_the_same(clips: Clips) -> None:
    def answer(sequences: object) -> npt.NDArray[np.int64]:
        assert isinstance(sequences, list | tuple)
        return np.full(len(sequences), 1)

    shares = measure_robustness(answer, clips)
    assert {*shares.values()} == {1.0}
    assert {*shares} <= {f"same_{name}" for name in DISTURBANCES}


def test_an_answer_by_length_changes_with_each_disturbance_of_length(clips: Clips) -> None:
    first = {len(frames): label for frames, label in zip(clips.sequences, clips.labels.tolist(), strict=True)}

    def answer(sequences: object) -> npt.NDArray[np.int64]:
        assert isinstance(sequences, list | tuple)
        return np.array([first.get(len(frames), -1) for frames in sequences])

    shares = measure_robustness(answer, clips)
    assert shares["same_zeros_to_200"] == shares["same_idle_3_s_before"] == 0.0
    assert "zeros to 200 0.000" in describe(shares)


@pytest.mark.parametrize("name", sorted(DISTURBANCES))
def test_disturbances_are_sequences_again(clips: Clips, name: str) -> None:
    frames: Frames = clips.sequences[0]
    disturbed = DISTURBANCES[name](frames, np.random.default_rng(0))
    assert disturbed.dtype == np.float32
    assert disturbed.shape[1:] == frames.shape[1:]


def test_a_second_hand_is_shown_or_lost_where_that_changes_something(clips: Clips) -> None:
    frames = clips.sequences[0].copy()
    frames[:, 99:162] = 0
    rng = np.random.default_rng(0)
    assert lose_second_hand(frames, rng) is frames
    shown = show_second_hand(frames, rng)
    assert (shown[:, 99:162] != 0).any()
    assert show_second_hand(shown, rng) is shown
    assert (lose_second_hand(shown, rng)[:, 99:] != 0).any()


@pytest.mark.parametrize(("rate", "frames"), [(15, 16), (30, 31), (60, 61), (120, 121)])
def test_another_rate_has_as_many_frames_of_the_same_second(rate: float, frames: int) -> None:
    second = np.ones((31, 225), np.float32)
    assert len(change_rate(second, rate)) == frames
