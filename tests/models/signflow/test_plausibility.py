import numpy as np
import pytest

from models.signflow.landmarks import WIDTH
from models.signflow.plausibility import QUANTITIES, find_doubts, measure
from tests.families.signflow import frames_of, implausible, sound, unusual
from training.signflow.recorded import POSSIBLE, USUAL, fault_of
from training.signflow.synthetic.signing import Synthesis, generate


def test_generated_signing_is_possible() -> None:
    for frames in generate(Synthesis(signs=16, signers=4, takes=1)).sequences:
        assert [*find_doubts(frames, measure(frames), POSSIBLE)] == []


def test_all_ranges_are_of_quantities_that_are_measured_and_usual_is_within_possible() -> None:
    assert {*POSSIBLE, *USUAL} == {*QUANTITIES}
    for name in {*POSSIBLE} & {*USUAL}:
        (low, high), (usual_low, usual_high) = POSSIBLE[name], USUAL[name]
        assert low is None or (usual_low is not None and usual_low >= low)
        assert high is None or (usual_high is not None and usual_high <= high)


def test_a_whole_sequence_has_every_quantity() -> None:
    assert measure(frames_of(20)).keys() == QUANTITIES.keys()


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_quantities_of_the_body_do_not_depend_on_its_size_in_the_picture(scale: float) -> None:
    frames = frames_of(20)
    near, far = measure(frames), measure(frames * np.float32(scale))
    for name in near.keys() - {"coordinate", "frames"}:
        assert far[name] == pytest.approx(near[name], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", sorted(implausible()))
def test_training_leaves_out_what_serving_refuses(name: str) -> None:
    fault = fault_of("file.npz", 3, implausible()[name][0])
    assert fault is not None
    assert fault.kind in ("nothing seen", "implausible")


@pytest.mark.parametrize("name", [*sorted(sound()), *sorted(unusual())])
def test_training_keeps_what_serving_answers(name: str) -> None:
    assert fault_of("file.npz", 3, {**sound(), **{one: frames for one, (frames, _) in unusual().items()}}[name]) is None


def test_missing_landmarks_are_not_measured() -> None:
    frames = frames_of(20)
    gaps = frames.copy()
    gaps[3] = np.nan
    gaps[9, 99:] = 0
    for name, value in measure(gaps).items():
        assert value == pytest.approx(measure(frames)[name], rel=0.1, abs=0.05) or name == "hand_share"
    assert measure(np.full((4, WIDTH), np.nan, np.float32)) == {}
