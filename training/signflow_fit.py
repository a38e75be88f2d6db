"""Fitting SignFlow to clips: batches, objective, and what a fitted network thinks of sequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from models.signflow.network import SignFlow, configure, count_parameters
from models.signflow.sequences import Frames, pad
from training import evaluate, loop, progress, tracking
from training.data.signflow_clips import Clips
from training.data.splits import Indices
from training.distributed import ALONE, Team
from training.signflow_augment import Augmentation, augment


@dataclass(frozen=True)
class Recipe:
    """How SignFlow is trained.

    Attributes
    ----------
    size
        A name in ``models.signflow.network.SIZES``.
    dropout
        Probability, everywhere in the network.
    batch_size
        Clips per step.
    label_smoothing
        Probability given to all signs alike.
    mixup
        Both parameters of the beta distribution that mixes pairs; 0 switches it off. The vectors before the classifier
        are mixed (Verma et al., 2019), because landmarks of two bodies do not add up to a third.
    balance
        0 shows signs as often as they were recorded, 1 all alike.
    augmentation, schedule
        See there.
    """

    size: str = "small"
    dropout: float = 0.1
    batch_size: int = 32
    label_smoothing: float = 0.05
    mixup: float = 0.2
    balance: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    schedule: loop.Schedule = field(default_factory=lambda: loop.Schedule(epochs=12))


RECORDED = Recipe(
    dropout=0.2,
    label_smoothing=0.1,
    schedule=loop.Schedule(epochs=60, ema_decay=0.995, patience=15),
)
"""For recorded sequences, of which there are few, to be recognised from signers never seen."""

SAME_SIGNERS = Recipe(
    dropout=0.1,
    mixup=0.0,
    augmentation=Augmentation(
        roll=0.1, yaw=0.15, scale=0.05, aspect=0.05, tilt=0.08, bodies=0.05,
        speed=0.1, warp=0.2, crop=0.04, jitter=0.002, drop_hand=0.1, drop_frames=0.03, mirror=0.0,
    ),
    schedule=loop.Schedule(epochs=48, learning_rate=4e-3, ema_decay=0.995, patience=15),
)  # fmt: skip
"""For many signs with a few takes each, asked of the very signers who taught them: no other bodies to allow for."""

Batch = tuple[Tensor, Tensor, Tensor, float]  # landmarks (B, T, 225), lengths (B,), labels (B,), mixing share


def usual_order(clips: Clips, recipe: Recipe, number: int, rng: np.random.Generator) -> Indices:
    """Return every clip once, in chance order; or as many, drawn so that signs are balanced."""
    if recipe.balance == 0:
        return rng.permutation(len(clips))
    counts = np.bincount(clips.labels, minlength=len(clips.signs))
    weight = counts[clips.labels] ** -float(recipe.balance)
    return rng.choice(len(clips), len(clips), p=weight / weight.sum())


def mixed_logits(network: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B, signs) of a batch whose pairs are mixed before the classifier."""
    assert isinstance(network, SignFlow)
    landmarks, lengths, _, share = batch
    vectors = network.embed(landmarks, lengths)
    return network.classify(share * vectors + (1 - share) * vectors.flip(0))


def mixed_cross_entropy(logits: Tensor, batch: Batch, recipe: Recipe) -> Tensor:
    """Return the mean cross-entropy of a batch's mixed logits against the labels of both of each pair."""
    _, _, labels, share = batch
    own = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    if share == 1.0:
        return own
    return share * own + (1 - share) * F.cross_entropy(logits, labels.flip(0), label_smoothing=recipe.label_smoothing)


def cross_entropy(network: nn.Module, batch: Batch, recipe: Recipe) -> Tensor:
    """Return the mean cross-entropy of a batch whose pairs are mixed before the classifier."""
    return mixed_cross_entropy(mixed_logits(network, batch), batch, recipe)


@dataclass(frozen=True)
class Technique:
    """What a technique changes of the usual training; several are combined by `dataclasses.replace`.

    Attributes
    ----------
    start
        Weights to begin with, by name; those of the network that it lacks are drawn as usual.
    order
        From clips, recipe, number of the epoch and a generator to the clips that the epoch shows, int64 positions.
    objective
        From network, batch and recipe to the loss.
    identity
        What a checkpoint must also be of, to be gone on with; anything JSON can hold.
    """

    start: Mapping[str, Tensor] = field(default_factory=dict)
    order: Callable[[Clips, Recipe, int, np.random.Generator], Indices] = usual_order
    objective: Callable[[nn.Module, Batch, Recipe], Tensor] = cross_entropy
    identity: Mapping[str, Any] = field(default_factory=dict)


USUAL = Technique()


def fit(
    fitting: Clips,
    validation: Clips | None,
    recipe: Recipe,
    technique: Technique = USUAL,
    *,
    console: Console | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    on_epoch: tracking.OnEpoch = tracking.ignore,
    team: Team = ALONE,
) -> tuple[SignFlow, loop.Fitted]:
    """Fit a network to clips.

    Parameters
    ----------
    fitting
        What to learn from.
    validation
        Clips of other signers that choose the weights; None to train to the end.
    recipe
        How.
    technique
        What is done otherwise than usual.
    console
        Where progress is shown.
    device
        "cpu" or "cuda".
    checkpoint
        File to resume from and to write to.
    on_epoch
        Called after each epoch.
    team
        The processes that train together; the recipe's batch is divided among them.

    Returns
    -------
    model : SignFlow
        In eval mode, on the CPU.
    fitted : training.loop.Fitted
        Its weights and history.

    Raises
    ------
    ValueError
        If the technique starts with weights that do not fit the network.
    """
    console = console or Console(quiet=True)
    loop.seed_everything(recipe.schedule.seed)
    model = SignFlow(configure(recipe.size, len(fitting.signs), recipe.dropout)).to(device)
    _begin(model, technique.start)
    steps = math.ceil(len(fitting) / recipe.batch_size)
    console.print(
        f"SignFlow {recipe.size}: {count_parameters(model):,} parameters, {len(fitting.signs)} signs; "
        f"{len(fitting)} clips to learn from, {len(validation) if validation else 0} to choose by"
    )

    def score(network: nn.Module) -> dict[str, float]:
        assert validation is not None
        return evaluate.evaluate(
            probabilities(network, validation.sequences), validation.labels, validation.signs
        ).metrics

    with progress.display(console, recipe.schedule.epochs, steps) as shown:

        def after(epoch: loop.Epoch) -> None:
            shown.epoch(epoch)
            on_epoch(epoch)

        fitted = loop.fit(
            model,
            lambda number, rng: batches(fitting, technique.order(fitting, recipe, number, rng), recipe, rng, device),
            lambda network, batch: _own_share(network, batch, recipe, technique, team),
            recipe.schedule,
            steps,
            score=score if validation is not None else None,
            on_epoch=after,
            on_step=shown.step,
            resume=checkpoint,
            identity={"recipe": asdict(recipe), "network": asdict(model.config), **technique.identity},
            team=team,
        )
    return model.cpu(), fitted


def _own_share(network: nn.Module, batch: Batch, recipe: Recipe, technique: Technique, team: Team) -> Tensor:
    # all of a team draw the whole batch, so that its augmentation is that of one process
    landmarks, lengths, labels, share = batch
    if team.size == 1:
        return technique.objective(network, batch, recipe)
    rows, weight = team.part(len(labels))
    return weight * technique.objective(network, (landmarks[rows], lengths[rows], labels[rows], share), recipe)


def _begin(model: SignFlow, start: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    wrong = [name for name, tensor in start.items() if name not in own or own[name].shape != tensor.shape]
    if wrong:
        raise ValueError(
            f"the weights to start with do not fit a network of size {model.config}: {', '.join(wrong[:3])}; "
            "train with the size that they are of"
        )
    model.load_state_dict(start, strict=False)


def batches(
    clips: Clips, order: Indices, recipe: Recipe, rng: np.random.Generator, device: str = "cpu"
) -> Iterator[Batch]:
    """Yield augmented batches of the clips at some positions, those of like length together."""
    window = 8 * recipe.batch_size  # sorted only within windows, so that batches stay mixed
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(clips.lengths[part], kind="stable")]
        pieces = [part[i : i + recipe.batch_size] for i in range(0, len(part), recipe.batch_size)]
        for index in rng.permutation(len(pieces)):
            yield _batch(clips, rng.permutation(pieces[index]), recipe, rng, device)


def _batch(clips: Clips, chosen: Indices, recipe: Recipe, rng: np.random.Generator, device: str) -> Batch:
    landmarks, lengths = pad([np.nan_to_num(clips.sequences[i], nan=0.0, posinf=0.0, neginf=0.0) for i in chosen])
    landmarks, lengths = augment(landmarks, lengths, recipe.augmentation, rng)
    share = float(rng.beta(recipe.mixup, recipe.mixup)) if recipe.mixup else 1.0
    tensors = (torch.from_numpy(array).to(device) for array in (landmarks, lengths, clips.labels[chosen]))
    x, n, y = tensors
    return x, n, y, share


@torch.inference_mode()
def probabilities(network: nn.Module, sequences: tuple[Frames, ...], batch_size: int = 64) -> npt.NDArray[np.float32]:
    """Return what a network in eval mode thinks of sequences, float32 [N, signs]."""
    device = next(network.parameters()).device
    order = np.argsort([len(frames) for frames in sequences], kind="stable")
    rows = []
    for start in range(0, len(order), batch_size):
        landmarks, lengths = pad([sequences[i] for i in order[start : start + batch_size]])
        logits = network(torch.from_numpy(landmarks).to(device), torch.from_numpy(lengths).to(device))
        rows.append(logits.float().softmax(-1).cpu().numpy())
    shuffled = np.concatenate(rows)
    out = np.empty_like(shuffled)
    out[order] = shuffled
    return out
