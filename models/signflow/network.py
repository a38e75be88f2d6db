"""SignFlow's architecture: raw landmarks in, one logit per sign out.

landmarks (B, T, 225) ─ normalise ─> (10, 75, B, T) ─┬─ HandcraftedFeatures ─> (B, T, 469) ─ pool ─ linear ─────┐
                                                     └─ joints ──────────────> (B, T, 550) ─ pool ─ JointGraph ─┤
    ┌───────────────────────────────────────────────────────────────────────────────────────────────────────── +
    └─> (B, K, D) ─ transformer ─> (B, K, D) ─ masked mean ─> logits (B, classes)

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

from models.signflow.features import LandmarkFeatures, real_frames
from models.signflow.handcrafted import HANDCRAFTED, HandcraftedFeatures
from models.signflow.joints import JointGraph


@dataclass(frozen=True)
class SignFlowConfig:
    """Everything that shapes the network.

    Attributes
    ----------
    classes
        Number of signs.
    graph
        Channels per joint of the graph network's convolutions; 0 leaves the graph network out.
    kept
        Numbers per joint that the graph network hands on.
    d_model, heads, layers, feedforward
        The temporal transformer's dimensions.
    tokens
        Tokens a sequence is pooled to; shorter sequences keep one token per frame.
    dropout
        Probability, in training only.
    """

    classes: int = 32
    graph: int = 16
    kept: int = 6
    d_model: int = 128
    heads: int = 4
    layers: int = 2
    feedforward: int = 256
    tokens: int = 32
    dropout: float = 0.1


SIZES: Final[dict[str, SignFlowConfig]] = {
    "small": SignFlowConfig(),
    "base": SignFlowConfig(graph=32, kept=8, d_model=192, heads=6, layers=4, feedforward=768),
    "large": SignFlowConfig(graph=64, kept=12, d_model=384, heads=8, layers=6, feedforward=1536),
    "features": SignFlowConfig(graph=0),
}
"""Laptops and CI; the middle; the product's large dimensions; `small` without its graph network, to compare with."""


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


def pool_frames(frames: Tensor, lengths: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Pool frames to tokens, each the mean of its share of a sequence's frames.

    Parameters
    ----------
    frames
        float32 [B, T, width].
    lengths
        int64 [B], at least one each.
    most
        Tokens of a sequence that has as many frames or more; a shorter one keeps a token per frame.

    Returns
    -------
    tokens : torch.Tensor
        float32 [B, K, width]; K is `most`, or T if that is fewer.
    real : torch.Tensor
        bool [B, K], true for real tokens.
    """
    # token k is the mean of frames [k L / n, (k + 1) L / n) with n = min(L, most), bounds rounded outward
    used = lengths.clamp(max=most).unsqueeze(1)  # (B, 1)
    # tokens beyond the longest sequence are masked anyway; where the graph may differ from batch to batch (it may
    # not when exported) they are left out
    count = most if torch.compiler.is_exporting() else min(most, frames.shape[1])
    k = torch.arange(count, device=frames.device).unsqueeze(0)  # (1, K)
    real = k < used
    start = torch.div(k * lengths.unsqueeze(1), used, rounding_mode="floor")
    stop = torch.div((k + 1) * lengths.unsqueeze(1) + used - 1, used, rounding_mode="floor")
    t = torch.arange(frames.shape[1], device=frames.device)
    inside = (t >= start.unsqueeze(2)) & (t < stop.unsqueeze(2)) & real.unsqueeze(2)  # (B, K, T)
    share = inside.to(frames.dtype) / (stop - start).unsqueeze(2).to(frames.dtype)
    return share @ frames, real


class EncoderLayer(nn.Module):
    """One pre-norm transformer layer with a key mask.

    Written out instead of ``nn.TransformerEncoderLayer``, whose fast path in eval mode treats padding differently from
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
        self.handcrafted = HandcraftedFeatures()
        self.enter = nn.Linear(HANDCRAFTED, config.d_model)
        self.joints = JointGraph(config.graph, config.kept, config.d_model) if config.graph else None
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
        tokens, weight = self.read(self.features(landmarks, mask), lengths)
        return (tokens * weight.unsqueeze(2)).sum(1) / weight.sum(1, keepdim=True)

    def read(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens [B, K, d_model] of features [10, 75, B, T], and which are real, 1 or 0 [B, K]."""
        frames = self.handcrafted(features)
        if self.joints is not None:
            frames = torch.cat([frames, self.joints.select(features)], 2)
        pooled, token_mask = pool_frames(frames, lengths, self.config.tokens)
        x = self.enter(pooled[..., :HANDCRAFTED])
        if self.joints is not None:
            x = x + self.joints(pooled[..., HANDCRAFTED:])
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

    @torch.no_grad()
    def sharpen(self, slope: float) -> None:
        """Multiply all logits by a number from now on: the inverse of a temperature."""
        self.classifier.weight.mul_(slope)
        self.classifier.bias.mul_(slope)

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
