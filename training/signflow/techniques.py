"""What a training's options ask of its technique: a teacher, pretrained weights, an order of the clips."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from training.signflow.clips import Clips
from training.signflow.curriculum import curriculum
from training.signflow.distillation import taught_by
from training.signflow.fit import USUAL, Recipe, Technique
from training.signflow.pretraining import start_from


def choose_technique(
    recipe: Recipe,
    fitting: Clips,
    test: Clips,
    data_sha256: str,
    console: Console,
    device: str,
    *,
    teacher: Path | None = None,
    signer: str = "auto",
    pretrained: Path | None = None,
    order: str = "",
) -> Technique:
    """Return how training differs from usual.

    Parameters
    ----------
    recipe, fitting
        How and what is learned.
    test
        Clips of people whom pretrained weights must not have seen.
    data_sha256, signer
        On which, with the recipe's seed, the split depends that a teacher should have been trained on.
    console
        Where it is said what a teacher may know.
    device
        "cpu" or "cuda".
    teacher
        Archive of a larger model to learn from besides.
    pretrained
        Weights to start from.
    order
        A name in `training.signflow.curriculum.CURRICULA`, or empty.
    """
    technique = USUAL
    if teacher is not None:
        gpu = torch.device(device).index or 0 if device.startswith("cuda") else None
        technique = taught_by(teacher, fitting.signs, data_sha256, recipe.schedule.seed, console, signer, gpu)
    if pretrained is not None:
        technique = start_from(pretrained, recipe.size, test, technique)
    if order:
        technique = curriculum(order, fitting, recipe, technique, device)
    return technique
