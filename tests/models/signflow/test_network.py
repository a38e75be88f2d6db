import numpy as np
import pytest
import torch
from torch_geometric.nn import DenseGCNConv

from models.signflow.features import real_frames
from models.signflow.landmarks import EDGES, LEFT_HAND, LEFT_SHOULDER, MIRROR, RIGHT_HAND, RIGHT_SHOULDER
from models.signflow.network import SIZES, GraphConvolution, SignFlow, anatomical_adjacency, configure, count_parameters
from models.signflow.sequences import pad
from training.data.signflow_synthetic import Synthesis, generate
from training.export import export_module

LENGTHS = (1, 2, 30, 64, 65, 130, 500)


@pytest.fixture(scope="module", params=["small", "small-graph"])
def network(request):
    torch.manual_seed(0)
    return SignFlow(configure(request.param, 10)).eval()


@pytest.fixture(scope="module")
def clip():
    return generate(Synthesis(signs=2, signers=1, takes=1)).sequences[0]


def answer(network, *sequences):
    landmarks, lengths = pad(sequences)
    with torch.inference_mode():
        return network(torch.from_numpy(landmarks), torch.from_numpy(lengths)).numpy()


def noise(length, seed=0):
    return np.random.default_rng(seed).normal(0.5, 0.2, (length, 225)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_each_size_answers_in_a_batch_of_mixed_lengths_as_alone(size):
    torch.manual_seed(0)
    network = SignFlow(configure(size, 10)).eval()
    sequences = [noise(length, seed=length) for length in LENGTHS]
    together = answer(network, *sequences)
    alone = np.concatenate([answer(network, sequence) for sequence in sequences])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_frames_after_a_sequences_end_never_matter(network):
    landmarks, lengths = (torch.from_numpy(array) for array in pad([noise(40), noise(90)]))
    with torch.inference_mode():
        clean = network(landmarks, lengths)
        landmarks[0, 40:] = torch.from_numpy(noise(50, seed=9)) * 1e4
        landmarks[0, 60:] = torch.nan
        assert torch.equal(network(landmarks, lengths)[0], clean[0])


def test_a_missing_landmark_reads_the_same_as_nan_zero_or_infinity(network, clip):
    answers = []
    for missing in (np.nan, 0.0, np.inf, -np.inf):
        frames = clip.reshape(-1, 75, 3).copy()
        frames[3:9, RIGHT_HAND] = missing
        answers.append(answer(network, frames.reshape(-1, 225)))
    for other in answers[1:]:
        np.testing.assert_array_equal(other, answers[0])


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 3e38, 1.0])
def test_the_answer_is_finite_whatever_the_frames_hold(network, value):
    assert np.isfinite(answer(network, np.full((5, 225), value, np.float32))).all()


def test_where_and_how_large_a_signer_stands_in_the_picture_does_not_matter(network, clip):
    points = clip.reshape(-1, 75, 3)
    moved = np.where(points != 0, points * 0.6 + [0.3, -0.1, 0.0], 0).astype(np.float32)
    np.testing.assert_allclose(answer(network, moved.reshape(-1, 225)), answer(network, clip), atol=1e-3)


def test_a_left_handed_signer_reads_as_the_right_handed_one(network, clip):
    right = clip.reshape(-1, 75, 3).copy()
    right[:, LEFT_HAND] = 0
    left = right[:, MIRROR].copy()
    left[..., 0] = np.where((left != 0).any(-1), 1 - left[..., 0], 0)
    np.testing.assert_allclose(
        answer(network, left.reshape(-1, 225)), answer(network, right.reshape(-1, 225)), atol=1e-4
    )


def test_a_hands_wrist_at_the_origin_is_not_a_missing_wrist(network):
    features = network.features
    frames = torch.full((1, 2, 75, 3), 0.4)
    frames[..., LEFT_SHOULDER, 0], frames[..., RIGHT_SHOULDER, 0] = 0.6, 0.3
    frames[:, :, RIGHT_HAND.start] = 0
    present = features(frames.flatten(2), torch.ones(1, 2))[-1]
    assert present[RIGHT_HAND].all()


def test_short_sequences_keep_one_token_per_frame_and_long_ones_fill_all(network):
    most = network.config.tokens
    lengths = torch.tensor([1, most - 1, most, most + 1, 500])
    frames = torch.randn(5, 500, network.temporal.enter.in_features)
    mask = real_frames(frames, lengths)
    _, tokens = network.temporal(frames, mask, lengths)
    assert tokens.sum(1).tolist() == [1, most - 1, most, most, most]


def test_the_graph_convolution_is_torch_geometrics():
    ours, theirs = GraphConvolution(10, 16), DenseGCNConv(10, 16)
    plain = torch.zeros(75, 75)
    for a, b in EDGES:
        plain[a, b] = plain[b, a] = 1
    with torch.no_grad():
        ours.weight.copy_(theirs.lin.weight)
        ours.bias.copy_(theirs.bias.copy_(torch.randn(16)))
        nodes = torch.randn(4, 75, 10)
        torch.testing.assert_close(ours(nodes.unsqueeze(0), anatomical_adjacency())[0], theirs(nodes, plain))


@pytest.mark.parametrize(
    ("size", "most"),
    [
        ("small", 340_000),
        ("base", 2_700_000),
        ("large", 13_500_000),
        ("small-graph", 320_000),
        ("baseline", 1_900_000),
    ],
)
def test_sizes_stay_as_large_as_documented(size, most):
    assert 0.8 * most < count_parameters(SignFlow(configure(size, 32))) < most


def test_an_unknown_size_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="small, base, large, small-graph, baseline"):
        configure("huge", 10)


@pytest.mark.parametrize("size", ["small", "small-graph"])
def test_both_exports_answer_as_the_network_for_any_batch_and_length(size):
    import io

    import onnxruntime

    torch.manual_seed(0)
    network = SignFlow(configure(size, 10)).eval()
    example = [torch.from_numpy(array) for array in pad([noise(5), noise(9)])]
    axes = {"landmarks": {0: "batch", 1: "time"}, "lengths": {0: "batch"}}
    graph, program = export_module(network, dict(zip(axes, example, strict=True)), ["logits"], axes)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    loaded = torch.export.load(io.BytesIO(program)).module()
    for lengths in [(1,), (500,), LENGTHS]:
        sequences = [noise(length, seed=length) for length in lengths]
        sequences[0][0, 33 * 3 :] = np.nan
        landmarks, frames = pad(sequences)
        expected = answer(network, *sequences)
        found = session.run(None, {"landmarks": landmarks, "lengths": frames})[0]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        with torch.inference_mode():
            again = loaded(torch.from_numpy(landmarks), torch.from_numpy(frames)).numpy()
        np.testing.assert_allclose(again, expected, atol=1e-5)
