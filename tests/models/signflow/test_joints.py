import numpy as np
import pytest
import torch
from torch_geometric.nn import DenseGCNConv

from models.signflow.joints import _NAMES, JOINTS, NUMBERS, JointGraph, adjacencies, normalise
from models.signflow.landmarks import NAMES, POSE


@pytest.fixture
def graph() -> JointGraph:
    torch.manual_seed(0)
    network = JointGraph(16, 6, 32)
    with torch.no_grad():  # as after training: a graph of its own, with negative edges, and biases
        network.learned.copy_(torch.randn(55, 55) * 0.3)
        for layer in (*network.first, *network.second):
            layer.bias.copy_(torch.randn(4))
    return network.eval()


def tokens(batch: int = 3, count: int = 7) -> torch.Tensor:
    drawn = torch.randn(batch, count, 10, 55)
    drawn[:, :, -1] = torch.rand(batch, count, 55)  # presence, a share of a token's frames
    return drawn.flatten(2)


def test_the_joints_are_the_upper_body_and_both_hands() -> None:
    assert len(JOINTS) == len(set(JOINTS)) == 55
    named = [NAMES[joint].removeprefix("pose_") for joint in JOINTS]
    assert named == list(_NAMES)
    assert sum(joint < POSE.stop for joint in JOINTS) == 13


def test_training_and_export_apply_torch_geometrics_layers(graph: JointGraph) -> None:
    x = tokens()
    as_layers = graph(x)
    together = graph.train()(x)
    torch.testing.assert_close(together, as_layers, rtol=1e-5, atol=1e-5)
    gradients = []
    for mode in (graph.train(), graph.eval()):
        graph.zero_grad()
        mode(x).square().sum().backward()
        gradients.append({name: one.grad.clone() for name, one in graph.named_parameters() if one.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() == dict(graph.named_parameters()).keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-3, msg=name)


def test_graphs_are_normalised_as_torch_geometric_does(graph: JointGraph) -> None:
    one_to_one = DenseGCNConv(55, 55, bias=False)
    with torch.no_grad():
        one_to_one.lin.weight.copy_(torch.eye(55))
        for given, ours in zip(graph.graphs(), normalise(graph.graphs()), strict=True):
            torch.testing.assert_close(one_to_one(torch.eye(55), given)[0], ours)


def test_graphs_tie_bones_twins_and_what_fingertips_touch() -> None:
    bones, twins, contacts = adjacencies()
    at = {name: index for index, name in enumerate(_NAMES)}
    assert all(torch.equal(graph, graph.T) and not graph.diagonal().any() for graph in (bones, twins, contacts))
    assert bones[at["left_wrist"], at["left_hand_wrist"]] == 1
    assert bones[at["right_hand_index_3"], at["right_hand_index_4"]] == 1
    assert not bones[at["left_hand_index_4"], at["right_hand_index_4"]]
    assert twins.sum() == 2 * 27  # all but the nose
    assert contacts[at["left_hand_thumb_4"], at["nose"]] == contacts[at["left_hand_thumb_4"], at["right_ear"]] == 1
    reached = torch.eye(55)
    for _ in range(55):
        reached = ((bones + torch.eye(55)) @ reached).clamp(max=1)
    assert (reached > 0).all()  # the body is one piece


def test_a_joint_is_described_by_its_bone_and_its_distances_in_the_picture(graph: JointGraph) -> None:
    x = torch.zeros(10, 1, 55)
    x[-1] = 1
    at = {name: index for index, name in enumerate(_NAMES)}
    x[:3, 0, at["left_hand_index_3"]] = torch.tensor([0.1, 0.2, 0.3])
    x[:3, 0, at["left_hand_index_4"]] = torch.tensor([0.3, 0.4, 0.9])
    described = graph._describe(x)
    assert described.shape == (NUMBERS, 1, 55)
    tip = described[:, 0, at["left_hand_index_4"]]
    np.testing.assert_allclose(tip[10:13], [0.2, 0.2, 0.6], atol=1e-6)
    np.testing.assert_allclose(tip[13:], 0.5, atol=1e-5)  # to nose, mouth and shoulders, at the origin here
    x[-1, 0, at["left_hand_index_3"]] = 0
    assert not graph._describe(x)[10:13, 0, at["left_hand_index_4"]].any()
    x[-1, 0, at["nose"]] = 0
    assert graph._describe(x)[13, 0, at["left_hand_index_4"]] == 0


def test_the_learned_graph_learns(graph: JointGraph) -> None:
    graph.train()(tokens()).square().sum().backward()
    assert graph.learned.grad is not None
    off_diagonal = graph.learned.grad[~torch.eye(55, dtype=torch.bool)]
    assert float((off_diagonal != 0).float().mean()) > 0.9
