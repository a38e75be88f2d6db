"""Whether masked landmark modelling on unlabelled sequences makes few labels go further.

With 1, 5, 20 and 100 % of the labels, at least one clip a sign, and the same clips for every arm: trained from scratch,
trained as long from pretrained weights, and, for 5 and 100 %, trained from scratch for as long as pretraining and
fine-tuning take together. Recorded data is pretrained on every sequence of its folder whose signer is not tested,
generated data on the seed's own training clips.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from models.signflow.network import configure
from training.data.manifest import SYNTHETIC
from training.neural import checkpoint
from training.signflow import unlabelled as signflow_unlabelled
from training.signflow.clips import Clips
from training.signflow.experiments.harness import (
    Arm,
    Data,
    Estimate,
    Outcome,
    estimates,
    recipe,
    tested,
)
from training.signflow.fit import Technique, fit
from training.signflow.pretraining import PRETRAINING, pretrain
from training.signflow.unlabelled import Unlabelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.01, 0.05, 0.2, 1.0)
LONGER = (0.05, 1.0)
"""Shares for which training from scratch is also given the time of pretraining."""
BATCH = 16
"""Half of the usual, for twice as many steps: with few clips shown the steps run out first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this experiment's options."""
    parser.add_argument("--shown", type=int, default=3_000, help="labelled clips shown (default: %(default)s)")
    parser.add_argument(
        "--pretraining", type=int, default=12_000, help="unlabelled sequences shown (default: %(default)s)"
    )
    parser.add_argument("--size", default="small", help="network size (default: %(default)s)")


def arms(arguments: argparse.Namespace, data: Data) -> Sequence[Arm]:
    """Return the arms of each share of the labels."""

    def run(kind: str, share: float, seed: int) -> dict[str, float]:
        train, test = data.unseen(seed)
        labelled = few(train, share, seed)
        shown = arguments.shown + (arguments.pretraining if kind == "longer" else 0)
        start = _pretrained(arguments, data, seed) if kind == "pretrained" else {}
        how = replace(recipe(data, labelled, seed, shown, arguments.size), batch_size=BATCH)
        model, _ = fit(labelled, None, how, Technique(start=start))
        return {**tested(model, test), "labels": len(labelled)}

    found = []
    for share in SHARES:
        scratch, pretrained = (f"{kind}, {share:.0%}" for kind in ("scratch", "pretrained"))
        found.append(Arm(scratch, partial(run, "scratch", share)))
        found.append(Arm(pretrained, partial(run, "pretrained", share), against=scratch))
        if share in LONGER:
            found.append(Arm(f"longer, {share:.0%}", partial(run, "longer", share), against=pretrained))
    return found


def few(clips: Clips, share: float, seed: int) -> Clips:
    """Return a share of the clips of every sign, but at least one of each, chosen by chance."""
    rng = np.random.default_rng([seed, len(clips)])
    chosen = []
    for sign in np.unique(clips.labels):
        own = rng.permutation(np.flatnonzero(clips.labels == sign))
        chosen.append(own[: max(1, round(share * len(own)))])
    return clips.select(np.sort(np.concatenate(chosen)))


def figure(arms: Sequence[Arm], outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw accuracy over the share of the labels, a curve per kind of training."""
    from matplotlib.figure import Figure

    plot = Figure(figsize=(7, 4), layout="constrained")
    axes = plot.subplots()
    means = estimates(arms, outcomes, "accuracy")
    for place, kind in enumerate(("scratch", "pretrained", "longer")):
        points: list[tuple[float, Estimate]] = [
            (100 * share * 1.04**place, means[name]) for share in SHARES if (name := f"{kind}, {share:.0%}") in means
        ]
        halves = [one.half if np.isfinite(one.half) else 0.0 for _, one in points]
        label = "scratch, with the time of pretraining" if kind == "longer" else kind
        style = "s:" if kind == "longer" else "o-"
        axes.errorbar(
            [at for at, _ in points], [one.mean for _, one in points], halves, fmt=style, capsize=3, label=label
        )
    axes.set_xscale("log")
    axes.set_xticks([100 * share for share in SHARES], [f"{share:.0%}" for share in SHARES])
    axes.set_ylim(0, 1)
    axes.set_xlabel("share of the labels")
    axes.set_ylabel("accuracy on unseen people, 95 % interval")
    axes.set_title(title)
    axes.legend()
    return plot


def unlabelled(path: str, train: Clips, test: Clips) -> Unlabelled:
    """Return what a seed may be pretrained on: the folder of its file but for the test people, or its own clips."""
    if path == SYNTHETIC:
        return Unlabelled.of(train)
    return signflow_unlabelled.read(Path(path).parent).apart_from(test)


def _pretrained(arguments: argparse.Namespace, data: Data, seed: int) -> dict[str, Tensor]:
    # pretrained once per seed, and kept beside the results
    sequences = unlabelled(arguments.data, *data.unseen(seed))
    epochs = max(1, round(arguments.pretraining / len(sequences.sequences)))
    how = replace(
        PRETRAINING,
        size=arguments.size,
        batch_size=BATCH,
        schedule=replace(PRETRAINING.schedule, epochs=epochs, seed=seed),
    )
    identity = json.dumps([asdict(how), asdict(configure(how.size, 1)), len(sequences.sequences)], sort_keys=True)
    name = f"{data.name}-{arguments.size}-pretrained-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    file = arguments.out / "weights" / f"{name}.safetensors"
    if not file.exists():
        weights, fitted = pretrain(sequences, how)
        checkpoint.write(file, weights, {"losses": [epoch.loss for epoch in fitted.history]})
    return checkpoint.read(file)[0]
