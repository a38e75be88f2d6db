"""Masked landmark modelling (after BERT; Devlin et al., 2019): learn how people move from unlabelled sequences.

Landmarks are hidden, some for the whole clip and all of them for spans of time, and the network has to say where they
were: mean squared error on what was hidden and had been seen, never on what the tracker had missed. What is hidden is
hidden from the normalised places, before anything is measured from them, and looks as a missing landmark does: neither
velocities nor hands' sizes tell of it. Only the frame of reference (centre and width of the shoulders over the clip,
and which hand is the dominant one) comes from the whole clip, as the places asked for are places in it.

A linear head on the tokens answers; it is thrown away, and the encoder's weights are what a training starts from.

    python scripts/pretrain.py --data recordings --apart-from recordings/common_signs.npz --out pretrained.safetensors
    python scripts/train.py signflow --data recordings/common_signs.npz --pretrained pretrained.safetensors
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from models.signflow.excerpt import excerpt
from models.signflow.features import real_frames
from models.signflow.landmarks import LANDMARKS
from models.signflow.network import SignFlow, configure
from models.signflow.sequences import Frames, pad
from training import tracking
from training.neural import checkpoint as checkpoints
from training.neural import loop, progress
from training.neural.schedule import Epoch
from training.signflow.clips import Clips
from training.signflow.fit import RECORDED, USUAL, Recipe, Technique, batches
from training.signflow.unlabelled import Unlabelled, find_overlap

ASKED: Final = 6
"""Numbers asked per landmark: its place on the body, and its place within its part."""

FAR: Final = 4.0
"""Deviations; what is farther off is a failure of tracking, or was recorded in other units."""

PRETRAINING: Final = replace(RECORDED, schedule=replace(RECORDED.schedule, epochs=20, patience=0))
"""For a few thousand sequences."""


@dataclass(frozen=True)
class Masking:
    """What is hidden.

    Attributes
    ----------
    landmarks
        Share of the landmarks hidden for the whole clip.
    frames
        Share of the frames in which all landmarks are hidden.
    span
        Frames hidden in a row; spans may meet.
    """

    landmarks: float = 0.15
    frames: float = 0.15
    span: int = 6


def visible(count: int, frames: int, how: Masking, device: torch.device | None = None) -> Tensor:
    """Draw what is not hidden from torch's generator: 1 or 0, float32 [75, count, frames]."""
    landmarks = torch.rand(LANDMARKS, count, 1, device=device) < how.landmarks
    begins = 1 - (1 - how.frames) ** (1 / how.span)  # so that a frame lies in no span with probability 1 - how.frames
    spans = (torch.rand(count, frames + how.span - 1, device=device) < begins).float()
    times = F.max_pool1d(spans.unsqueeze(1), how.span, stride=1).squeeze(1) > 0  # (B, T)
    return (~(landmarks | times)).float()


class MaskedModelling(nn.Module):
    """An encoder that says where hidden landmarks were. ``forward(landmarks, lengths) -> loss``.

    Parameters
    ----------
    network
        Whose encoder it is.
    typical, spread
        Median and deviation of what is asked, float32 [6, 75, 1, 1]: errors count in deviations, so that the legs,
        which a tracker guesses far outside the picture, do not outweigh the fingers; no landmark is asked for beyond
        FAR of them.
    how
        What is hidden.
    """

    typical: Tensor
    spread: Tensor

    def __init__(self, network: SignFlow, typical: Tensor, spread: Tensor, how: Masking) -> None:
        super().__init__()
        self.network, self.how = network, how
        self.head = nn.Linear(network.config.d_model, ASKED * LANDMARKS)
        self.register_buffer("typical", typical)
        self.register_buffer("spread", spread)

    def forward(self, landmarks: Tensor, lengths: Tensor) -> Tensor:
        """Return the loss of landmarks [B, T, 225] with lengths [B], with other landmarks hidden at every call."""
        mask = real_frames(landmarks, lengths)
        places, present = self.network.features.normalise(landmarks, mask)
        asked = self.network.features.describe(places, present)[:ASKED]
        asked = ((asked - self.typical) / self.spread).clamp(-FAR, FAR)
        keep = visible(len(landmarks), landmarks.shape[1], self.how, landmarks.device)
        reconstructed = self.reconstruct(places * keep, present * keep, lengths)
        hidden = present * (1 - keep)  # (75, B, T)
        return ((reconstructed - asked).square() * hidden).sum() / (ASKED * hidden.sum()).clamp(min=1)

    def reconstruct(self, places: Tensor, present: Tensor, lengths: Tensor) -> Tensor:
        """Return where each landmark is thought to be, float32 [6, 75, B, T], from those that are present."""
        tokens, _ = self.network.read(self.network.features.describe(places, present), lengths)
        used = lengths.clamp(max=tokens.shape[1]).unsqueeze(1)
        t = torch.arange(places.shape[3], device=tokens.device).unsqueeze(0)
        at = torch.div(t * used, lengths.unsqueeze(1), rounding_mode="floor").minimum(used - 1)  # a frame's token
        frames = tokens.gather(1, at.unsqueeze(2).expand(-1, -1, tokens.shape[2]))
        reconstructed: Tensor = self.head(frames).permute(2, 0, 1).unflatten(0, (ASKED, LANDMARKS))
        return reconstructed


@torch.no_grad()
def typical_places(network: SignFlow, sequences: tuple[Frames, ...], most: int = 512) -> tuple[Tensor, Tensor]:
    """Return median and deviation of what is asked where landmarks are seen, float32 [6, 75, 1, 1] each.

    The deviation is the interquartile range of at most that many sequences in units of a normal distribution's: the
    mean square would be that of the few sources whose places are of no use.
    """
    spread = np.linspace(0, len(sequences) - 1, min(most, len(sequences))).astype(np.int64)
    landmarks, lengths = (torch.from_numpy(array) for array in pad([excerpt(sequences[i]) for i in spread]))
    places, present = network.features.normalise(landmarks, real_frames(landmarks, lengths))
    asked = network.features.describe(places, present)[:ASKED]
    coordinates = torch.where(present > 0, asked, torch.nan).numpy()
    coordinates = np.where(np.isnan(coordinates).all((2, 3), keepdims=True), 0.0, coordinates)
    quantiles = np.nanquantile(coordinates, (0.25, 0.5, 0.75), axis=(2, 3), keepdims=True)
    low, middle, high = (torch.from_numpy(one).float() for one in quantiles)
    return middle, ((high - low) / 1.349).clamp(min=1e-2)  # a wrist is always at its own hand's origin


def pretrain(
    unlabelled: Unlabelled,
    recipe: Recipe = PRETRAINING,
    masking: Masking | None = None,
    *,
    console: Console | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    on_epoch: tracking.OnEpoch = tracking.ignore,
) -> tuple[dict[str, Tensor], loop.Fitted]:
    """Learn from sequences without labels.

    Parameters
    ----------
    unlabelled
        What to learn from.
    recipe
        Size, augmentation, batch size and schedule; what it says of labels has no meaning here.
    masking
        What is hidden; `Masking()` where not given.
    console, device, checkpoint, on_epoch
        As for `training.signflow.fit.fit`.

    Returns
    -------
    weights : dict of str to torch.Tensor
        Of the whole network but its classifier, for `training.signflow.fit.Technique.start`.
    fitted : training.neural.loop.Fitted
        With the encoder's and the head's weights, and the loss of every epoch.
    """
    console = console or Console(quiet=True)
    masking = masking or Masking()
    clips = unlabelled.clips()
    loop.seed_everything(recipe.schedule.seed)
    network = SignFlow(configure(recipe.size, 1, recipe.dropout))
    model = MaskedModelling(network, *typical_places(network, clips.sequences), masking).to(device)
    steps = math.ceil(len(clips) / recipe.batch_size)
    console.print(f"SignFlow {recipe.size}: {len(clips)} sequences without labels to learn from")
    with progress.display(console, recipe.schedule.epochs, steps) as display:

        def after(epoch: Epoch) -> None:
            display.epoch(epoch)
            on_epoch(epoch)

        fitted = loop.fit(
            model,
            lambda number, rng: batches(clips, rng.permutation(len(clips)), recipe, rng, device),
            lambda module, batch: module(batch[0], batch[1]),
            recipe.schedule,
            steps,
            on_epoch=after,
            on_step=display.step,
            resume=checkpoint,
            identity={"pretraining": asdict(recipe), "network": asdict(network.config), **asdict(masking)},
        )
    weights = network.cpu().state_dict()
    return {name: tensor for name, tensor in weights.items() if not name.startswith("classifier.")}, fitted


def save(path: Path, weights: Mapping[str, Tensor], size: str, unlabelled: Unlabelled, **note: str) -> None:
    """Write what was learned, of a network of which size, and from whom: all that `start_from` has to know."""
    checkpoints.write(path, weights, {**note, "size": size, **unlabelled.describe()})


def start_from(path: Path, size: str, test: Clips, technique: Technique = USUAL) -> Technique:
    """Return a technique that also starts from pretrained weights.

    Parameters
    ----------
    path
        As `save` wrote it.
    size
        Of the network to be trained.
    test
        Clips that it will be tested on; no signer in them may have been pretrained on.
    technique
        What else is done differently from usual.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    training.neural.checkpoint.CheckpointError
        If it is none of pretrained weights, of another size, or has seen the test people.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no pretrained weights at {path}; scripts/pretrain.py makes them")
    weights, note = checkpoints.read(path)
    if "people" not in note:
        raise checkpoints.CheckpointError(f"expected pretrained weights in {path}, got another checkpoint")
    if note["size"] != size:
        raise checkpoints.CheckpointError(f"{path} is of size {note['size']}, not {size}; train with that size")
    if seen := find_overlap(note, test):
        raise checkpoints.CheckpointError(
            f"{path} was pretrained on {len(seen)} of the people to be tested on ({', '.join(seen[:3])}, ...); "
            "pretrain with --apart-from the data and with the same --seed"
        )
    identity = {**technique.identity, "pretrained": hashlib.sha256(path.read_bytes()).hexdigest()}
    return replace(technique, start=weights, identity=identity)
