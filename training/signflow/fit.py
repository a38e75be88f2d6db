"""Fitting SignFlow to clips: batches, objective, and what a fitted network thinks of sequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from models.signflow.excerpt import SAMPLES, excerpt, excerpts
from models.signflow.network import SignFlow, configure, count_parameters
from models.signflow.sequences import Frames, pad
from training import tracking
from training.calibration import VectorScaling
from training.data.splits import Indices
from training.evaluation import classification
from training.neural import loop, progress
from training.neural.distributed import ALONE, Team
from training.neural.schedule import Epoch, Schedule
from training.signflow.augmentation import Augmentation, augment
from training.signflow.clips import Clips


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
    trimmed_loss
        Share of each batch, its clips of the largest loss, that is not learned from after the first fifth of the
        epochs: some people make another sign than the label says (OUSM; Xue et al., 2019). Several processes each leave
        out that share of their own part of the batch.
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
    trimmed_loss: float = 0.0
    balance: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    schedule: Schedule = field(default_factory=lambda: Schedule(epochs=20))


RECORDED = Recipe(
    dropout=0.2,
    label_smoothing=0.1,
    trimmed_loss=0.12,
    schedule=Schedule(epochs=60, ema_decay=0.995, patience=15),
)
"""For recorded sequences, of which there are few, to be recognised from signers never seen."""

SAME_SIGNERS = Recipe(
    dropout=0.1,
    mixup=0.0,
    augmentation=Augmentation(
        roll=0.1, yaw=0.15, scale=0.05, aspect=0.05, tilt=0.08, bodies=0.05,
        speed=0.1, warp=0.2, crop=0.04, jitter=0.002, drop_hand=0.1, drop_frames=0.03, mirror=0.0,
    ),
    schedule=Schedule(epochs=48, learning_rate=4e-3, ema_decay=0.995, patience=15),
)  # fmt: skip
"""For many signs with a few takes each, asked of the very signers who taught them: no other bodies to allow for."""


def recipe_for(clips: Clips, size: str = Recipe.size, seen: int = 20_000) -> Recipe:
    """Return how to train on recorded clips: what cross-validation measures, and what the command does.

    Where only takes are held out, and every signer is known, `SAME_SIGNERS`; else `RECORDED`, with as many epochs as
    show about `seen` clips, between 24 and 80.
    """
    if all(signer.startswith("take-") for signer in clips.signers.tolist()):
        return replace(SAME_SIGNERS, size=size)
    epochs = int(np.clip(round(seen / len(clips)), 24, 80))
    return replace(RECORDED, size=size, schedule=replace(RECORDED.schedule, epochs=epochs))


UNTRIMMED_EPOCHS = 0.2
"""Share of the epochs, the first ones, in which no loss is left out: a network that knows nothing yet doubts all."""


def recipe_in(recipe: Recipe, number: int) -> Recipe:
    """Return the recipe that holds in an epoch, by its number from 0."""
    untrimmed = number < UNTRIMMED_EPOCHS * recipe.schedule.epochs
    return replace(recipe, trimmed_loss=0.0) if untrimmed else recipe


def with_passes(recipe: Recipe, epochs: int) -> Recipe:
    """Return a recipe that takes so many passes, whatever its score."""
    return replace(recipe, schedule=replace(recipe.schedule, epochs=epochs, patience=0))


def best_passes(fitted: loop.Fitted, validated: int) -> int:
    """Return how many passes a fit to more clips shall take, by what validation said of a fit to fewer.

    The latest pass whose score is within a standard error of the best: among scores that chance cannot distinguish, the
    first one is best by chance, and passes cost little.

    Parameters
    ----------
    fitted
        A fit with validation; its score is an accuracy.
    validated
        Number of the clips it was validated on.
    """
    scores = np.array([epoch.score for epoch in fitted.history])
    best = float(scores.max())
    error = math.sqrt(max(best * (1 - best), 1 / validated) / validated)
    return int(np.flatnonzero(scores >= best - error)[-1]) + 1


def calibrate(model: SignFlow, held_out: Clips) -> float:
    """Let a network's probabilities mean what they say, by clips that it was not fitted to (temperature scaling).

    Returns
    -------
    float
        What the logits were multiplied by.
    """
    logits = np.log(np.maximum(probabilities(model, held_out.sequences), 1e-12))
    slope = float(VectorScaling.fit_temperature(logits, held_out.labels).slope[0])
    model.sharpen(slope)
    return slope


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
    """Return the cross-entropy of a batch's mixed logits against the labels of both of each pair.

    It is the mean over the batch, but for the share of it with the largest loss that the recipe leaves out.
    """
    _, _, labels, share = batch

    def measure(wanted: Tensor) -> Tensor:
        return F.cross_entropy(logits, wanted, label_smoothing=recipe.label_smoothing, reduction="none")

    losses = measure(labels)
    if share != 1.0:
        losses = share * losses + (1 - share) * measure(labels.flip(0))
    kept = len(losses) - round(recipe.trimmed_loss * len(losses))
    return losses.sort().values[:kept].mean() if kept < len(losses) else losses.mean()


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
        What is done differently from usual.
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
    fitted : training.neural.loop.Fitted
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
        return classification.evaluate(
            probabilities(network, validation.sequences), validation.labels, validation.signs
        ).metrics

    def epoch_batches(number: int, rng: np.random.Generator) -> Iterator[tuple[Recipe, Batch]]:
        now = recipe_in(recipe, number)
        for batch in batches(fitting, technique.order(fitting, recipe, number, rng), recipe, rng, device):
            yield now, batch

    with progress.display(console, recipe.schedule.epochs, steps) as display:

        def after(epoch: Epoch) -> None:
            display.epoch(epoch)
            on_epoch(epoch)

        fitted = loop.fit(
            model,
            epoch_batches,
            lambda network, pair: _own_share(network, pair[1], pair[0], technique, team),
            recipe.schedule,
            steps,
            score=score if validation is not None else None,
            on_epoch=after,
            on_step=display.step,
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
    landmarks = excerpts(*augment(landmarks, lengths, recipe.augmentation, rng))
    lengths = np.full(len(landmarks), SAMPLES)
    share = float(rng.beta(recipe.mixup, recipe.mixup)) if recipe.mixup else 1.0
    tensors = (torch.from_numpy(array).to(device) for array in (landmarks, lengths, clips.labels[chosen]))
    x, n, y = tensors
    return x, n, y, share


def probabilities(network: nn.Module, sequences: Sequence[Frames], batch_size: int = 64) -> npt.NDArray[np.float32]:
    """Return what a network in eval mode thinks of sequences as they were recorded, float32 [N, signs]."""
    return probabilities_of_excerpts(network, [excerpt(frames) for frames in sequences], batch_size)


@torch.inference_mode()
def probabilities_of_excerpts(
    network: nn.Module, shown: Sequence[Frames], batch_size: int = 64
) -> npt.NDArray[np.float32]:
    """Return what a network in eval mode thinks of excerpts float32 [T, 225], float32 [N, signs]."""
    device = next(network.parameters()).device
    rows = []
    for start in range(0, len(shown), batch_size):
        landmarks, lengths = pad(shown[start : start + batch_size])
        logits = network(torch.from_numpy(landmarks).to(device), torch.from_numpy(lengths).to(device))
        rows.append(logits.float().softmax(-1).cpu().numpy())
    return np.concatenate(rows)
