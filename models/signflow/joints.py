"""A graph network over the joints that signs are made with: one vector per token.

tokens (B, K, 550) ─ describe ─> 18 numbers per joint ─ two graph convolutions ─> channels per joint
    ─ linear ─> a short vector per joint ─ linear ─> (B, K, d_model)

The joints are 13 of the upper body and 21 of each hand. Four graphs lie over them, and each convolves channels of its
own (decoupled graph convolutions; Cheng et al., 2020): bones; left and right; what fingertips touch; and one that is
learned. Every convolution is a graph convolution of Kipf & Welling (2017), with self-loops and symmetric normalisation.

Frames are pooled to tokens before they come here, so the cost does not grow with a clip's length.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import DenseGCNConv

from models.signflow.features import FEATURES
from models.signflow.handcrafted import UPPER
from models.signflow.landmarks import FINGERS, HAND_EDGES, HAND_NAMES, LEFT_HAND, POSE_NAMES, RIGHT_HAND

_SIDES: Final = ("left", "right")
_NAMES: Final = (*UPPER, *(f"{side}_hand_{name}" for side in _SIDES for name in HAND_NAMES))

JOINTS: Final = (*(POSE_NAMES.index(name) for name in UPPER), *range(LEFT_HAND.start, RIGHT_HAND.stop))
"""Which of the 75 landmarks are joints of the graph."""

_ANCHORS: Final = ("nose", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder")
_PARENTS: Final = {
    **dict.fromkeys(("mouth_left", "mouth_right", "left_ear", "right_ear", "left_shoulder", "right_shoulder"), "nose"),
    **{f"{side}_{child}": f"{side}_{parent}" for side in _SIDES for child, parent in (
        ("elbow", "shoulder"), ("hip", "shoulder"), ("wrist", "elbow"), ("hand_wrist", "elbow"),
        *((f"hand_{finger}_1", "hand_wrist") for finger in FINGERS),
        *((f"hand_{finger}_{joint + 1}", f"hand_{finger}_{joint}") for finger in FINGERS for joint in (1, 2, 3)),
    )},
}  # fmt: skip
"""The joint at the other end of the bone that leads to each; the nose has none."""

NUMBERS: Final = FEATURES + 3 + len(_ANCHORS)
"""What describes a joint: its landmark's ten features, the bone that leads to it (3), distances to the anchors (5)."""

Edges = Iterable[tuple[str, str]]


def _bones() -> Edges:
    within = [(a, b) for a, b in _PARENTS.items() if not a.endswith("hand_wrist")]
    across = [("mouth_left", "mouth_right"), ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")]
    wrists = [(f"{side}_wrist", f"{side}_hand_wrist") for side in _SIDES]
    palms = [(f"{side}_hand_{HAND_NAMES[a]}", f"{side}_hand_{HAND_NAMES[b]}") for side in _SIDES for a, b in HAND_EDGES]
    return [*within, *across, *wrists, *palms]


def _twins() -> Edges:
    return [(name, name.replace("left", "right")) for name in _NAMES if "left" in name]


def _contacts() -> Edges:
    tips = [f"{side}_hand_{finger}_4" for side in _SIDES for finger in FINGERS]
    places = [(tip, place) for tip in tips for place in (*_ANCHORS, "left_ear", "right_ear")]
    return [*places, *((a, b) for a in tips for b in tips if a < b)]


def adjacencies() -> Tensor:
    """Return the three graphs that are given, without self-loops, 0 or 1, float32 [3, 55, 55].

    The bones of body and hands, with the palm and each hand's wrist tied to the pose's; each joint and its twin on the
    other side; each fingertip with face, shoulders and all other fingertips.
    """
    graphs = torch.zeros(3, len(JOINTS), len(JOINTS))
    for graph, edges in zip(graphs, (_bones(), _twins(), _contacts()), strict=True):
        for one, other in edges:
            a, b = _NAMES.index(one), _NAMES.index(other)
            graph[a, b] = graph[b, a] = 1.0
    return graphs


class JointGraph(nn.Module):
    """Two decoupled graph convolutions over the joints of each token.

    torch-geometric's `DenseGCNConv`, one per graph and layer, own the weights, and in eval mode compute the answers. In
    training, and in an exported graph, the same weights and normalised adjacencies are applied as two large products
    per layer, joints last: equal up to rounding, and cheaper. So a certificate, made in eval mode, compares the two.

    Parameters
    ----------
    channels
        Per joint, of all four graphs together.
    kept
        Numbers that are left of each joint.
    d_model
        Width of the vector per token.
    """

    joints: Tensor
    parents: Tensor
    anchors: Tensor
    given: Tensor

    def __init__(self, channels: int, kept: int, d_model: int) -> None:
        super().__init__()
        count = len(JOINTS)
        indices = {
            "joints": JOINTS,
            "parents": [_NAMES.index(_PARENTS.get(name, name)) for name in _NAMES],
            "anchors": [_NAMES.index(name) for name in _ANCHORS],
        }
        for name, index in indices.items():
            self.register_buffer(name, torch.tensor(index), persistent=False)
        self.register_buffer("given", adjacencies(), persistent=False)
        self.learned = nn.Parameter(torch.zeros(count, count))
        each = channels // (len(self.given) + 1)
        self.first = nn.ModuleList(DenseGCNConv(NUMBERS, each) for _ in range(len(self.given) + 1))
        self.second = nn.ModuleList(DenseGCNConv(channels, each) for _ in range(len(self.given) + 1))
        self.identity = nn.Parameter(torch.randn(channels, 1, count) * 0.1)
        self.keep = nn.Linear(channels, kept, bias=False)
        self.norm = nn.LayerNorm(kept * count)
        self.leave = nn.Linear(kept * count, d_model)

    def select(self, features: Tensor) -> Tensor:
        """Return the joints' part of features [10, 75, B, T] as [B, T, 550]."""
        return features.index_select(1, self.joints).flatten(0, 1).permute(1, 2, 0)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [B, K, 550] to [B, K, d_model]."""
        nodes = tokens.flatten(0, 1).view(-1, FEATURES, len(JOINTS)).transpose(0, 1)  # (10, B K, 55)
        x = F.relu(self._convolve(self._describe(nodes), self.first) + self.identity)  # (channels, B K, 55)
        x = x + F.relu(self._convolve(x, self.second))
        kept = (self.keep.weight @ x.flatten(1)).view(-1, *x.shape[1:]).transpose(0, 1)  # (B K, kept, 55)
        out: Tensor = self.leave(self.norm(kept.flatten(1))).view(*tokens.shape[:2], -1)
        return out

    def graphs(self) -> Tensor:
        """Return all four adjacencies as `DenseGCNConv` is given them, float32 [4, 55, 55]."""
        return torch.cat([self.given, self.learned.unsqueeze(0)])

    def _convolve(self, x: Tensor, layers: nn.ModuleList) -> Tensor:
        """Map joints (inputs, N, 55) to (channels, N, 55), each layer along its own graph."""
        if self.training or torch.compiler.is_exporting():
            return self._convolve_together(x, layers)
        nodes = x.permute(1, 2, 0)
        mixed = [layer(nodes, graph) for layer, graph in zip(layers, self.graphs(), strict=True)]
        return torch.cat(mixed, 2).permute(2, 0, 1)

    def _convolve_together(self, x: Tensor, layers: nn.ModuleList) -> Tensor:
        weight = torch.cat([layer.get_parameter("lin.weight") for layer in layers])  # (channels, inputs)
        bias = torch.cat([layer.get_parameter("bias") for layer in layers])
        graphs = normalise(self.graphs()).transpose(1, 2).unsqueeze(1)
        grouped = (weight @ x.flatten(1)).view(len(graphs), -1, *x.shape[1:])  # (4, channels / 4, N, 55)
        return (grouped @ graphs).flatten(0, 1) + bias[:, None, None]

    def _describe(self, x: Tensor) -> Tensor:
        """Return the 18 numbers per joint (18, N, 55) of its ten features (10, N, 55)."""
        place, seen = x[:3], x[-1:]
        known = torch.cat([place, seen])
        parents = known.index_select(2, self.parents)
        bones = (place - parents[:3]) * (seen * parents[3:])
        anchors = known.index_select(2, self.anchors).transpose(1, 2).unsqueeze(3)  # (4, 5, N, 1)
        # in the picture: the depth of a hand counts from its own wrist, and the body has none
        apart = (place[:2].unsqueeze(1) - anchors[:2]).square().sum(0)  # (5, N, 55)
        distances = (apart + 1e-6).sqrt() * (seen * anchors[3])  # the root of zero has no gradient
        return torch.cat([x, bones, distances])


def normalise(graphs: Tensor) -> Tensor:
    """Return adjacencies [n, 55, 55] with self-loops and symmetric normalisation, as `DenseGCNConv` computes them."""
    loops = torch.eye(graphs.shape[1], dtype=graphs.dtype, device=graphs.device)
    looped = graphs * (1 - loops) + loops
    scale = looped.sum(2).clamp(min=1).pow(-0.5)
    return scale.unsqueeze(2) * looped * scale.unsqueeze(1)
