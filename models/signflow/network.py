"""SignFlow's architecture: raw landmarks in, one logit per sign out.

landmarks (B, T, 225) ─ normalise ─> (10, 75, B, T) ─ SpatialLandmarkEncoder ─> (B, T, frame)
    ─ TemporalConvPooling ─> (B, K, D) ─ transformer ─> (B, K, D) ─ masked mean ─> logits (B, classes)

Some sizes measure hand-crafted features in the SpatialLandmarkEncoder's stead, and pool without convolutions.

Everything a sequence needs before it is understood (missing landmarks, centring, scaling, velocities) happens inside
the module, so that training, the exported graph and its certificate cannot disagree about it. Every step is masked:
frames at or after a sequence's length never influence its logits. B and T are free when exported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import to_dense_adj

from models.signflow.features import FEATURES, LandmarkFeatures, real_frames
from models.signflow.handcrafted import HANDCRAFTED, HandcraftedFeatures
from models.signflow.landmarks import EDGES, LANDMARKS, LEFT_HAND, POSE, RIGHT_HAND


@dataclass(frozen=True)
class SignFlowConfig:
    """Everything that shapes the network.

    Attributes
    ----------
    classes
        Number of signs.
    spatial
        Channels per landmark after each of the two graph convolutions.
    pools
        Weighted means over the landmarks that a frame is summed up in.
    frame
        Width of the vector that graph convolutions make of a frame.
    d_model, heads, layers, feedforward
        The temporal transformer's dimensions.
    dilations
        One temporal convolution (kernel 3) each.
    tokens
        Tokens a sequence is pooled to; shorter sequences keep one token per frame.
    dropout
        Probability, in training only.
    handcrafted
        Whether frames are told by the hand-crafted features instead of graph convolutions; `spatial`, `pools`
        and `frame` mean nothing then.
    """

    classes: int = 32
    spatial: tuple[int, int] = (128, 256)
    pools: int = 8
    frame: int = 256
    d_model: int = 192
    heads: int = 6
    layers: int = 4
    feedforward: int = 768
    dilations: tuple[int, ...] = (1, 2, 4)
    tokens: int = 64
    dropout: float = 0.1
    handcrafted: bool = False


SIZES: Final[dict[str, SignFlowConfig]] = {
    "small": SignFlowConfig(handcrafted=True, d_model=128, heads=4, layers=2, feedforward=256, dilations=(), tokens=32),
    "base": SignFlowConfig(spatial=(64, 128), frame=192, d_model=192, heads=6, layers=4, feedforward=768),
    "large": SignFlowConfig(spatial=(128, 256), frame=256, d_model=384, heads=8, layers=6, feedforward=1536),
    "small-graph": SignFlowConfig(spatial=(16, 32), frame=64, d_model=96, heads=4, layers=2, feedforward=192),
    "baseline": SignFlowConfig(handcrafted=True, dilations=()),
}
"""Laptops and CI; the baseline's transformer on the graph; the product's large dimensions.

The last two are there to be compared with: graph convolutions in as few parameters as `small`, and the hand-crafted
features before the transformer of `base`.
"""


def configure(size: str, classes: int, dropout: float | None = None) -> SignFlowConfig:
    """Return the configuration of a named size for a number of signs.

    Raises
    ------
    ValueError
        If there is no such size.
    """
    if size not in SIZES:
        raise ValueError(f"expected a size among {', '.join(SIZES)}, got {size!r}")
    config = replace(SIZES[size], classes=classes)
    return config if dropout is None else replace(config, dropout=dropout)


def anatomical_adjacency() -> Tensor:
    """Return the symmetric-normalised adjacency with self-loops, float32 [75, 75] (Kipf & Welling, 2017)."""
    edges = torch.tensor(EDGES).T
    both_ways = torch.cat([edges, edges.flip(0)], dim=1)
    index, weight = gcn_norm(both_ways, num_nodes=LANDMARKS)
    dense: Tensor = to_dense_adj(index, edge_attr=weight, max_num_nodes=LANDMARKS)[0]
    return dense


class GraphConvolution(nn.Module):
    """Kipf & Welling's graph convolution over one fixed graph: A X W + b.

    Equal to torch-geometric's DenseGCNConv (a test says so), but the adjacency is normalised once instead of at each
    call, and multiplied while the features are still narrow. Channels stand last, so that the product with the weights
    is one large product over all landmarks of all frames.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        """Map nodes [B, T, 75, inputs] to [B, T, 75, outputs]; the adjacency is [75, 75]."""
        return F.linear(adjacency @ nodes, self.weight, self.bias)


class SpatialLandmarkEncoder(nn.Module):
    """One vector per frame, by two graph convolutions over the anatomical graph.

    A plain mean over landmarks would forget which finger moved. So there are several weighted means with learned
    weights, which start as the means over pose, left hand and right hand, and a linear view of all features is added.
    """

    adjacency: Tensor

    def __init__(self, config: SignFlowConfig) -> None:
        super().__init__()
        first, second = config.spatial
        self.register_buffer("adjacency", anatomical_adjacency(), persistent=False)
        self.identity = nn.Parameter(torch.randn(first, LANDMARKS) * 0.1)
        self.first = GraphConvolution(FEATURES, first)
        self.second = GraphConvolution(first, second)
        self.pool = nn.Parameter(self._parts(config.pools))
        self.sum_up = nn.Linear(config.pools * second, config.frame)
        self.whole = nn.Linear(LANDMARKS * FEATURES, config.frame)
        self.norm = nn.LayerNorm(config.frame)
        self.dropout = nn.Dropout(config.dropout)

    @staticmethod
    def _parts(pools: int) -> Tensor:
        weights: Tensor = torch.randn(pools, LANDMARKS) / LANDMARKS**0.5
        for row, part in zip(weights, (POSE, LEFT_HAND, RIGHT_HAND), strict=False):
            row.zero_()
            row[part] = 1 / (part.stop - part.start)
        return weights

    def forward(self, features: Tensor) -> Tensor:
        """Map features [10, 75, B, T] to [B, T, frame]."""
        seen = features.permute(2, 3, 1, 0)  # (B, T, 75, 10)
        nodes = F.relu(self.first(seen, self.adjacency) + self.identity.T)  # (B, T, 75, first)
        nodes = F.relu(self.second(nodes, self.adjacency))  # (B, T, 75, second)
        pooled = (self.pool @ nodes).transpose(2, 3)  # (B, T, second, pools)
        frames = self.sum_up(pooled.flatten(2)) + self.whole(seen.flatten(2))
        out: Tensor = self.dropout(self.norm(frames))
        return out


class TemporalConvPooling(nn.Module):
    """Frames of any number to at most `tokens`: dilated convolutions, if any, then masked adaptive mean pooling."""

    def __init__(self, config: SignFlowConfig) -> None:
        super().__init__()
        self.tokens = config.tokens
        width = config.d_model
        self.enter = nn.Linear(HANDCRAFTED if config.handcrafted else config.frame, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in config.dilations)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, 3, padding=d, dilation=d) for d in config.dilations)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, frames: Tensor, mask: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Pool frames to tokens.

        Parameters
        ----------
        frames
            float32 [B, T, frame].
        mask
            float32 [B, T], one for real frames.
        lengths
            int64 [B], at least one each.

        Returns
        -------
        tokens : torch.Tensor
            float32 [B, K, d_model]; K is the most tokens of the config, or T if that is fewer.
        token_mask : torch.Tensor
            bool [B, K], true for real tokens.
        """
        x = self.enter(frames)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            # (B, D, T): padding reads as the zeros beyond the edge
            masked = (F.gelu(norm(x)) * mask.unsqueeze(2)).transpose(1, 2)
            x = x + self.dropout(convolution(masked).transpose(1, 2))
        # token k is the mean of frames [k L / n, (k + 1) L / n) with n = min(L, tokens), bounds rounded outward
        used = lengths.clamp(max=self.tokens).unsqueeze(1)  # (B, 1)
        # tokens beyond the longest sequence are masked anyway; where the graph may differ from batch to batch (it may
        # not when exported) they are left out, which halves what most batches of recorded clips cost
        most = self.tokens if torch.compiler.is_exporting() else min(self.tokens, x.shape[1])
        k = torch.arange(most, device=x.device).unsqueeze(0)  # (1, K)
        token_mask = k < used
        start = torch.div(k * lengths.unsqueeze(1), used, rounding_mode="floor")
        stop = torch.div((k + 1) * lengths.unsqueeze(1) + used - 1, used, rounding_mode="floor")
        t = torch.arange(x.shape[1], device=x.device)
        inside = (t >= start.unsqueeze(2)) & (t < stop.unsqueeze(2)) & token_mask.unsqueeze(2)  # (B, K, T)
        share = inside.to(x.dtype) / (stop - start).unsqueeze(2).to(x.dtype)
        return share @ x, token_mask


class EncoderLayer(nn.Module):
    """One pre-norm transformer layer with a key mask.

    Written out instead of ``nn.TransformerEncoderLayer``, whose fast path in eval mode treats padding otherwise than
    the exported graph does.
    """

    def __init__(self, config: SignFlowConfig) -> None:
        super().__init__()
        width = config.d_model
        self.heads = config.heads
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.norm_feedforward = nn.LayerNorm(width)
        self.widen = nn.Linear(width, config.feedforward)
        self.narrow = nn.Linear(config.feedforward, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map tokens [B, K, D] to [B, K, D]; `bias` [B, 1, 1, K] is added to the attention scores."""
        together = self.query_key_value(self.norm_attention(x))  # (B, K, 3 D)
        # (B, heads, K, D / heads) each
        query, key, value = together.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3) + bias  # (B, heads, K, K)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)  # (B, K, D)
        x = x + self.dropout(self.attended(mixed))
        hidden = self.dropout(F.gelu(self.widen(self.norm_feedforward(x))))
        out: Tensor = x + self.dropout(self.narrow(hidden))
        return out


class SignFlow(nn.Module):
    """The whole network. ``forward(landmarks, lengths) -> logits``."""

    def __init__(self, config: SignFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.features = LandmarkFeatures()
        self.spatial = HandcraftedFeatures() if config.handcrafted else SpatialLandmarkEncoder(config)
        self.temporal = TemporalConvPooling(config)
        self.position = nn.Linear(12, config.d_model, bias=False)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.d_model, config.classes)

    def forward(self, landmarks: Tensor, lengths: Tensor) -> Tensor:
        """Score each sequence against each sign.

        Parameters
        ----------
        landmarks
            float32 [B, T, 225], raw, as a client sends them: NaN or an all-zero hand where missing.
        lengths
            int64 [B], the number of real frames of each, 1 <= length <= T.

        Returns
        -------
        torch.Tensor
            Logits, float32 [B, classes].
        """
        return self.classify(self.embed(landmarks, lengths))

    def embed(self, landmarks: Tensor, lengths: Tensor) -> Tensor:
        """Return one vector per sequence, float32 [B, d_model]; arguments as for `forward`."""
        mask = real_frames(landmarks, lengths)
        tokens, weight = self.read(self.features(landmarks, mask), mask, lengths)
        return (tokens * weight.unsqueeze(2)).sum(1) / weight.sum(1, keepdim=True)

    def read(self, features: Tensor, mask: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens [B, K, d_model] of features [10, 75, B, T], and which are real, 1 or 0 [B, K]."""
        x, token_mask = self.temporal(self.spatial(features), mask, lengths)
        x = x + self.position(self._place(token_mask))
        weight = token_mask.to(x.dtype)
        bias = ((1.0 - weight) * -1e4)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, bias)
        return self.norm(x), weight

    def classify(self, embedding: Tensor) -> Tensor:
        """Return logits [B, classes] of embeddings [B, d_model]."""
        logits: Tensor = self.classifier(self.dropout(embedding))
        return logits

    def _place(self, token_mask: Tensor) -> Tensor:
        # where in the sign a token stands, from 0 to 1, as six waves: the same sign made slowly keeps its positions
        used = token_mask.to(torch.float32).sum(1, keepdim=True)  # (B, 1)
        k = torch.arange(token_mask.shape[1], device=token_mask.device, dtype=torch.float32)
        waves = 2.0 ** torch.arange(6, device=token_mask.device, dtype=torch.float32) * torch.pi / 2
        angle = ((k + 0.5) / used).unsqueeze(-1) * waves  # (B, K, 6)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


def count_parameters(model: nn.Module) -> int:
    """Return how many trained numbers a model has."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
