"""The training loop: any module, any batches, any loss.

`fit` knows nothing of signs. It is given batches per epoch (a curriculum is another function of the epoch), an
objective (masked modelling or distillation is another objective), and a score to watch; it adds AdamW with warm-up and
cosine, gradient clipping, mixed precision where the device has it, an exponential moving average (EMA) and stochastic
weight averaging (SWA) of the weights, early stopping, and resuming.

All chance in an epoch derives from (seed, epoch). So an epoch needs no memory of the ones before it but the weights,
and a resumed run ends with the very numbers an uninterrupted one ends with.

Several processes run this same loop (`training.neural.distributed`): they differ in the rows of a batch that their
objective looks at, and in their dropout; gradients, losses and scores are made equal, so that their weights are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from training.neural import checkpoint
from training.neural.distributed import ALONE, Team
from training.neural.schedule import Epoch, Schedule

B = TypeVar("B")
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Fitted:
    """The outcome: the weights to serve, which kind won ("ema" or "swa"), its score, and every epoch."""

    weights: Weights
    kind: str
    score: float
    history: tuple[Epoch, ...]


@dataclass
class _State:
    # everything that changes from epoch to epoch; what a checkpoint holds
    ema: Weights
    swa: Weights
    swa_count: int = 0
    steps: int = 0
    best: Weights = field(default_factory=dict)
    best_score: float = -math.inf
    best_epoch: int = -1
    history: list[Epoch] = field(default_factory=list)


def seed_everything(*numbers: int) -> np.random.Generator:
    """Seed torch with whole numbers, and return a numpy generator seeded with them."""
    sequence = np.random.SeedSequence(numbers)
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
    return np.random.default_rng(sequence)


def fit(
    model: nn.Module,
    batches: Callable[[int, np.random.Generator], Iterable[B]],
    objective: Callable[[nn.Module, B], Tensor],
    schedule: Schedule,
    steps_per_epoch: int,
    *,
    score: Callable[[nn.Module], Mapping[str, float]] | None = None,
    watch: str = "accuracy",
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_step: Callable[[], None] = lambda: None,
    resume: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    team: Team = ALONE,
) -> Fitted:
    """Train a module.

    Parameters
    ----------
    model
        Trained in place, on the device its parameters are on; left with the weights to serve.
    batches
        The batches of an epoch, given its number and a generator seeded for it.
    objective
        The mean loss of a batch, a scalar.
    schedule
        How long and how fast.
    steps_per_epoch
        Number of batches per epoch, for the learning rate.
    score
        Metrics of a module in eval mode; None to watch nothing and train to the end.
    watch
        Name of the metric that chooses the weights and stops early.
    on_epoch, on_step
        Called after each epoch, those of a resumed run included, and after each step.
    resume
        Checkpoint file; continued from where it exists, written after each epoch.
    identity
        What the checkpoint must be of (data, settings); another one's checkpoint is refused.
    team
        The processes that train together. Each is given the same batches; the objectives' mean over the processes is
        what is minimised. The first alone scores and writes the checkpoint, which all must be able to read.

    Returns
    -------
    Fitted
        The better of the best epoch's EMA weights and the SWA weights; without a score, the last EMA weights.

    Raises
    ------
    training.neural.checkpoint.CheckpointError
        If the checkpoint is broken or of another run.
    FloatingPointError
        If the loss is not a finite number.
    """
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(_parameter_groups(model, schedule), lr=schedule.learning_rate, fused=True)
    state = _State(ema=_copy(model), swa={})
    fingerprint = {"schedule": asdict(schedule), **(identity or {})}
    if resume is not None and resume.exists():
        _restore(resume, fingerprint, model, optimizer, state)
        for epoch in state.history:
            on_epoch(epoch)
    lossy = team.averaging(_Objective(model, objective))
    total = schedule.epochs * steps_per_epoch
    for number in range(len(state.history), schedule.epochs):
        if _stopped(state, schedule):
            break
        rng = seed_everything(schedule.seed, number)
        if not team.first:
            seed_everything(schedule.seed, number, team.rank)  # the same batches, dropout of its own
        model.train()
        losses = []
        for batch in batches(number, rng):
            rate = learning_rate(state.steps, total, schedule)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(device.type, torch.bfloat16, enabled=schedule.bfloat16 and has_bfloat16(device)):
                loss: Tensor = lossy(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), schedule.clip_norm)
            optimizer.step()
            losses.append(loss.detach())
            state.steps += 1
            _follow(state.ema, model, min(schedule.ema_decay, (1 + state.steps) / (10 + state.steps)))
            on_step()
        mean_loss = float(team.mean(torch.stack(losses).mean()))
        if not math.isfinite(mean_loss):
            raise FloatingPointError(
                f"expected a finite loss, got {mean_loss} in epoch {number + 1}; lower the learning rate"
            )
        if number >= schedule.epochs * (1 - schedule.swa):
            state.swa_count += 1
            state.swa = state.swa or _copy(model)
            _follow(state.swa, model, 1 - 1 / state.swa_count)
        metrics = _score(model, state.ema, score, team)
        epoch = Epoch(number + 1, mean_loss, rate, metrics.get(watch, math.nan), metrics)
        state.history.append(epoch)
        if score is None or epoch.score > state.best_score:
            state.best = {name: tensor.clone() for name, tensor in state.ema.items()}
            state.best_score, state.best_epoch = epoch.score, number
        on_epoch(epoch)
        if resume is not None and team.first:
            _save(resume, fingerprint, model, optimizer, state)
    return _chosen(model, state, score, watch, team)


class _Objective(nn.Module, Generic[B]):
    # a module, because that is what gradients are averaged of

    def __init__(self, model: nn.Module, objective: Callable[[nn.Module, B], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: B) -> Tensor:
        return self.objective(self.model, batch)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device has instructions for bfloat16: GPUs, and some CPUs."""
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return device.type == "cuda"


def learning_rate(step: int, total: int, schedule: Schedule) -> float:
    """Return the rate of a step: linear warm-up, then a cosine to 1 % of the peak."""
    warm = max(1, round(total * schedule.warmup))
    if step < warm:
        return schedule.learning_rate * (step + 1) / warm
    progress = min(1.0, (step - warm) / max(1, total - warm))
    return schedule.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


def _parameter_groups(model: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _stopped(state: _State, schedule: Schedule) -> bool:
    waited = len(state.history) - 1 - state.best_epoch
    return schedule.patience > 0 and state.best_epoch >= 0 and waited >= schedule.patience


def _copy(model: nn.Module) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@torch.no_grad()
def _follow(average: Weights, model: nn.Module, past: float) -> None:
    now = model.state_dict()
    names = [name for name in average if average[name].is_floating_point()]
    torch._foreach_lerp_([average[name] for name in names], [now[name] for name in names], 1 - past)


@torch.no_grad()
def _score(
    model: nn.Module, weights: Weights, score: Callable[[nn.Module], Mapping[str, float]] | None, team: Team
) -> Mapping[str, float]:
    if score is None:
        return {}
    own = _copy(model)
    model.load_state_dict(weights)
    metrics = team.from_first(lambda: dict(score(model.eval())))
    model.load_state_dict(own)
    return metrics


def _chosen(
    model: nn.Module,
    state: _State,
    score: Callable[[nn.Module], Mapping[str, float]] | None,
    watch: str,
    team: Team,
) -> Fitted:
    weights, kind, value = state.best, "ema", state.best_score
    if score is not None and state.swa:
        averaged = _score(model, state.swa, score, team)[watch]
        if averaged > value:
            weights, kind, value = state.swa, "swa", averaged
    model.load_state_dict(weights)
    model.eval()
    return Fitted(weights, kind, value, tuple(state.history))


def _save(
    path: Path, fingerprint: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, state: _State
) -> None:
    moments = {
        f"{index}/{name}": tensor
        for index, entries in optimizer.state_dict()["state"].items()
        for name, tensor in entries.items()
    }
    groups = {"model": _copy(model), "ema": state.ema, "swa": state.swa, "best": state.best, "optimizer": moments}
    tensors = {key: value for name, group in groups.items() for key, value in checkpoint.grouped(name, group).items()}
    note = {
        "fingerprint": fingerprint,
        "swa_count": state.swa_count,
        "steps": state.steps,
        "best_score": state.best_score,
        "best_epoch": state.best_epoch,
        "history": [asdict(epoch) for epoch in state.history],
    }
    checkpoint.write(path, tensors, note)


def _restore(
    path: Path, fingerprint: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, state: _State
) -> None:
    tensors, note = checkpoint.read(path)
    wanted = _plain(fingerprint)
    if note["fingerprint"] != wanted:
        differing = sorted(k for k in {*wanted, *note["fingerprint"]} if wanted.get(k) != note["fingerprint"].get(k))
        raise checkpoint.CheckpointError(
            f"{path} is of another run: {', '.join(differing)} differ; delete it, or name another file"
        )
    device = next(model.parameters()).device
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    model.load_state_dict(checkpoint.group(tensors, "model"))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in checkpoint.group(tensors, "optimizer").items():
        index, name = key.split("/")
        moments.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    state.ema, state.swa, state.best = (checkpoint.group(tensors, name) for name in ("ema", "swa", "best"))
    state.swa_count, state.steps = note["swa_count"], note["steps"]
    state.best_score, state.best_epoch = note["best_score"], note["best_epoch"]
    state.history = [Epoch(**epoch) for epoch in note["history"]]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    # as JSON would give them back: tuples as lists
    return {
        k: _plain(v) if isinstance(v, Mapping) else list(v) if isinstance(v, tuple) else v for k, v in values.items()
    }
