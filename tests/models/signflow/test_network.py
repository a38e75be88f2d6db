import numpy as np
import pytest
import torch

from models.signflow.landmarks import LEFT_HAND, LEFT_SHOULDER, MIRROR, POSE, RIGHT_HAND, RIGHT_SHOULDER
from models.signflow.network import SIZES, SignFlow, configure, count_parameters, pool_frames
from models.signflow.sequences import Frames, pad
from training.export.torch_module import export_module
from training.signflow.synthetic.signing import Synthesis, generate

LENGTHS = (1, 2, 30, 64, 65, 130, 500)


@pytest.fixture(scope="module", params=["small", "features"])
def network(request: pytest.FixtureRequest) -> SignFlow:
    torch.manual_seed(0)
    return SignFlow(configure(request.param, 10)).eval()


@pytest.fixture(scope="module")
def clip() -> Frames:
    return generate(Synthesis(signs=2, signers=1, takes=1)).sequences[0]


def answer(network: SignFlow, *sequences: Frames) -> Frames:
    landmarks, lengths = pad(sequences)
    with torch.inference_mode():
        logits: Frames = network(torch.from_numpy(landmarks), torch.from_numpy(lengths)).numpy()
    return logits


def noise(length: int, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).normal(0.5, 0.2, (length, 225)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_each_size_answers_in_a_batch_of_mixed_lengths_as_alone(size: str) -> None:
    torch.manual_seed(0)
    network = SignFlow(configure(size, 10)).eval()
    sequences = [noise(length, seed=length) for length in LENGTHS]
    together = answer(network, *sequences)
    alone = np.concatenate([answer(network, sequence) for sequence in sequences])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_frames_after_a_sequences_end_never_matter(network: SignFlow) -> None:
    landmarks, lengths = (torch.from_numpy(array) for array in pad([noise(40), noise(90)]))
    with torch.inference_mode():
        clean = network(landmarks, lengths)
        landmarks[0, 40:] = torch.from_numpy(noise(50, seed=9)) * 1e4
        landmarks[0, 60:] = torch.nan
        assert torch.equal(network(landmarks, lengths)[0], clean[0])


def test_a_missing_landmark_reads_the_same_as_nan_zero_or_infinity(network: SignFlow, clip: Frames) -> None:
    answers = []
    for missing in (np.nan, 0.0, np.inf, -np.inf):
        frames = clip.reshape(-1, 75, 3).copy()
        frames[3:9, RIGHT_HAND] = missing
        answers.append(answer(network, frames.reshape(-1, 225)))
    for other in answers[1:]:
        np.testing.assert_array_equal(other, answers[0])


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 3e38, 1.0])
def test_the_answer_is_finite_whatever_the_frames_hold(network: SignFlow, value: float) -> None:
    assert np.isfinite(answer(network, np.full((5, 225), value, np.float32))).all()


def test_where_and_how_large_a_signer_stands_in_the_picture_does_not_matter(network: SignFlow, clip: Frames) -> None:
    points = clip.reshape(-1, 75, 3)
    moved = np.where(points != 0, points * 0.6 + [0.3, -0.1, 0.2], 0).astype(np.float32)
    np.testing.assert_allclose(answer(network, moved.reshape(-1, 225)), answer(network, clip), atol=1e-3)


def test_a_left_handed_signer_reads_as_the_right_handed_one(network: SignFlow, clip: Frames) -> None:
    right = clip.reshape(-1, 75, 3).copy()
    right[:, LEFT_HAND] = 0
    left = right[:, MIRROR].copy()
    left[..., 0] = np.where((left != 0).any(-1), 1 - left[..., 0], 0)
    np.testing.assert_allclose(
        answer(network, left.reshape(-1, 225)), answer(network, right.reshape(-1, 225)), atol=1e-4
    )


def test_a_hands_wrist_at_the_origin_is_not_a_missing_wrist(network: SignFlow) -> None:
    features = network.features
    frames = torch.full((1, 2, 75, 3), 0.4)
    frames[..., LEFT_SHOULDER, 0], frames[..., RIGHT_SHOULDER, 0] = 0.6, 0.3
    frames[:, :, RIGHT_HAND.start] = 0
    present = features(frames.flatten(2), torch.ones(1, 2))[-1]
    assert present[RIGHT_HAND].all()


def test_the_depth_of_the_body_and_where_a_hand_s_begins_do_not_matter(network: SignFlow, clip: Frames) -> None:
    points = clip.reshape(-1, 75, 3)
    seen, other = (points != 0).any(-1), points.copy()
    other[:, POSE, 2] += np.random.default_rng(0).normal(0, 1, other[:, POSE, 2].shape)
    other[:, RIGHT_HAND, 2] += 0.5
    other[~seen] = 0
    np.testing.assert_allclose(answer(network, other.reshape(-1, 225)), answer(network, clip), atol=1e-4)
    other[:, RIGHT_HAND, 2] *= -1  # but the shape of a hand does
    assert np.abs(answer(network, other.reshape(-1, 225)) - answer(network, clip)).max() > 1e-3


def test_short_sequences_keep_one_token_per_frame_and_long_ones_fill_all() -> None:
    most, lengths = 32, torch.tensor([1, 31, 32, 33, 500])
    tokens, real = pool_frames(torch.arange(500.0).expand(5, 500).unsqueeze(2), lengths, most)
    assert real.sum(1).tolist() == [1, 31, 32, 32, 32]
    assert tokens[1, :31, 0].tolist() == list(range(31))
    assert tokens[4, [0, -1], 0].tolist() == [7.5, 491.5]  # means of the first and the last sixteen of 500 frames


@pytest.mark.parametrize(
    ("size", "most"),
    [
        ("small", 400_000),
        ("base", 2_100_000),
        ("large", 11_500_000),
        ("features", 340_000),
    ],
)
def test_sizes_stay_as_large_as_documented(size: str, most: int) -> None:
    assert 0.8 * most < count_parameters(SignFlow(configure(size, 32))) < most


def test_an_unknown_size_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="small, base, large, features"):
        configure("huge", 10)


@pytest.mark.parametrize("size", ["small", "features"])
def test_the_export_answers_as_the_network_for_any_batch_and_length(size: str) -> None:
    import onnxruntime

    torch.manual_seed(0)
    network = SignFlow(configure(size, 10)).eval()
    example = [torch.from_numpy(array) for array in pad([noise(5), noise(9)])]
    axes = {"landmarks": {0: "batch", 1: "time"}, "lengths": {0: "batch"}}
    graph = export_module(network, dict(zip(axes, example, strict=True)), ["logits"], axes)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for lengths in [(1,), (500,), LENGTHS]:
        sequences = [noise(length, seed=length) for length in lengths]
        sequences[0][0, 33 * 3 :] = np.nan
        landmarks, frames = pad(sequences)
        expected = answer(network, *sequences)
        found = session.run(None, {"landmarks": landmarks, "lengths": frames})[0]
        np.testing.assert_allclose(found, expected, atol=1e-4)
