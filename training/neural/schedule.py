"""How a network is trained, and what each epoch came to; without torch, so that reports and logs need none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes
    ----------
    epochs
        At most that many passes.
    learning_rate, weight_decay
        AdamW's; biases, norms and other vectors are not decayed.
    warmup
        Share of all steps in which the rate rises linearly to its peak; after it a cosine to 1 % of the peak.
    clip_norm
        Largest norm of a step's gradient.
    ema_decay
        Weight of the past in the moving average; lower during the first steps.
    swa
        Share of the epochs, the last ones, whose weights are averaged equally.
    patience
        Stop after that many epochs without a better score; 0 never stops early.
    bfloat16
        Compute products in bfloat16 where the device has instructions for it; weights and sums stay float32.
    seed
        Seed of all chance.
    """

    epochs: int = 30
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    swa: float = 0.25
    patience: int = 0
    bfloat16: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. `score` is of the EMA weights: higher is better, NaN where nothing is watched."""

    number: int
    loss: float
    learning_rate: float
    score: float
    metrics: Mapping[str, float]
