"""SignFlow's recipe: from clips to a trained model and everything its archive has to prove.

options ─ load ─> clips ─ split by signer ─┬─> training, validation ─ fit ─> model ─ evaluate on test ─┬─> Trained
                                           └─> all, with the passes that validation found ─ fit ───────┘

One process trains with ``python scripts/train.py signflow``; several with

    torchrun --nproc-per-node 2 -m training.signflow.recipe --data recordings/common_signs.npz
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from models.signflow.embedding_space import EmbeddingSpace
from models.signflow.landmarks import LEFT_HAND, RIGHT_HAND, WIDTH
from models.signflow.network import SIZES, SignFlow, SignFlowConfig
from models.signflow.sequences import Frames
from training import cli, family, tracking
from training.cli import add_shared
from training.data import manifest, splits
from training.data.loading import load_recorded
from training.data.manifest import SYNTHETIC
from training.neural.distributed import Team, joined
from training.neural.loop import Fitted
from training.signflow import annotations as signflow_labels
from training.signflow import embedding_space, recorded
from training.signflow.clips import Clips
from training.signflow.curriculum import CURRICULA
from training.signflow.distillation import archive_of
from training.signflow.fit import (
    Recipe,
    Technique,
    best_passes,
    calibrate,
    fit,
    probabilities,
    recipe_for,
    with_passes,
)
from training.signflow.metrics import report_fit
from training.signflow.synthetic import signing as synthetic
from training.signflow.techniques import choose_technique

MODELS = ("signflow",)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(family.DataOptions):
    """One training run.

    Attributes
    ----------
    data
        "synthetic", or the path of an ``.npz`` file or a folder of them.
    recipe
        How to train; None for what `training.signflow.fit.recipe_for` says of the clips, with `changes`.
    changes
        What is to be different from that recipe: ``size``, ``batch_size``, ``epochs``, ``learning_rate``, ``seed``.
    synthesis
        What to synthesise, where `data` says so.
    signer
        The recorded field that distinguishes signers, or "auto".
    resume
        Whether to continue from the last epoch of an interrupted run of the same data and recipe.
    device
        "cpu", "cuda", or "auto" for a GPU where there is one.
    teacher
        The archive of a larger model to learn from besides, if any.
    pretrained
        Weights of scripts/pretrain.py to start from.
    curriculum
        A name in ``training.signflow.curriculum.CURRICULA``, or empty for the usual order of the clips.
    labels
        Queues of scripts/annotation_queue.py that came back from annotators.
    refit
        Whether what ships is fitted to all clips; else it is the evaluated fit, which has not seen the people it was
        tested on: to teach another network, or to be compared on them.
    """

    recipe: Recipe | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    synthesis: synthetic.Synthesis = field(default_factory=synthetic.Synthesis)
    signer: str = "auto"
    resume: bool = True
    device: str = "auto"
    teacher: Path | None = None
    pretrained: Path | None = None
    curriculum: str = ""
    labels: tuple[Path, ...] = ()
    refit: bool = True


@dataclass(frozen=True)
class Trained(family.Trained):
    """A trained model with what its certificate and provenance are made of.

    Attributes
    ----------
    model
        In eval mode on the CPU, with the weights that serve.
    config, labels
        Its shape, and the sign of each logit.
    golden
        Held-out sequences float32 [T, 225], edge cases among them.
    reference, reference_labels, reference_probabilities
        At most `splits.MOST_REFERENCES` test sequences for reference distributions, their labels int64 [N], and what
        the evaluated fit thinks of them, which has not seen them, float32 [N, signs].
    space
        Where the model's embeddings lie, and what the evaluated fit's of unseen sequences say of it.
    """

    model: SignFlow
    config: SignFlowConfig
    labels: tuple[str, ...]
    golden: list[Frames]
    reference: list[Frames]
    reference_labels: npt.NDArray[np.int64]
    reference_probabilities: npt.NDArray[np.float32]
    space: EmbeddingSpace


def train(options: TrainOptions, console: Console | None = None) -> dict[str, Trained]:
    """Train SignFlow, evaluate it on unseen signers, and record the run in MLflow.

    Parameters
    ----------
    options
        What to train on, and how.
    console
        Where progress is shown; none is shown without one.

    Returns
    -------
    dict of str to Trained
        The family's one model, by name; nothing in those of several processes that only help the first.

    Raises
    ------
    training.data.quality.BadDataError
        If the data is bad and `options` says to refuse it.
    FileNotFoundError
        If there is no data at the path.
    archives.contract.ArchiveError
        If the teacher is no archive, or does not know the signs.
    training.neural.checkpoint.CheckpointError
        If the pretrained weights are none, do not fit, or have seen the people to be tested on.
    """
    with joined(_device(options.device)) as team:
        return _train(options, console if console and team.first else Console(quiet=True), team)


def _train(options: TrainOptions, console: Console, team: Team) -> dict[str, Trained]:
    clips, data = load(options, console)
    recipe = _recipe(options, clips)
    kept, test = set_aside(clips, recipe.schedule.seed)
    fitting, validation = (kept[part] for part in splits.holdout(clips.signers[kept], 0.15, recipe.schedule.seed))
    params = _params(options, recipe, clips, len(fitting), len(validation), len(test))
    unseen = clips.select(test)
    technique_for = partial(
        choose_technique, recipe, test=unseen, data_sha256=data.sha256, console=console, device=team.device,
        teacher=options.teacher, signer=options.signer, pretrained=options.pretrained, order=options.curriculum,
    )  # fmt: skip
    technique = technique_for(fitting=clips.select(fitting))
    params |= {name: str(value) for name, value in technique.identity.items()}
    checkpoint = _checkpoint(options, recipe, data.sha256, technique, team)
    if checkpoint.exists():
        console.print("an interrupted run of this data and recipe is there: going on from its last epoch")
    refitting = checkpoint.with_suffix(".all.safetensors")
    learn = partial(fit, console=console, device=team.device, team=team)

    def evaluated(on_epoch: tracking.OnEpoch = tracking.ignore) -> tuple[SignFlow, Fitted, float]:
        model, fitted = learn(
            clips.select(fitting), clips.select(validation), recipe, technique, checkpoint=checkpoint, on_epoch=on_epoch
        )
        return model, fitted, calibrate(model, clips.select(validation))

    def shipped(model: SignFlow, fitted: Fitted, slope: float) -> tuple[SignFlow, family.Fits]:
        passes, signers = best_passes(fitted, len(validation)), len(set(unseen.signers.tolist()))
        on = f"{len(test):,} clips of {signers} signers that the evaluated fit has not seen"
        chosen = f"{on}; {len(validation):,} clips of others chose passes and calibration"
        if options.quick or not options.refit:
            return model, family.Fits(evaluated=chosen, shipped="the evaluated fit itself", refitted=False)
        console.print(f"fitting what ships to all {len(clips):,} clips, {passes} passes", highlight=False)
        again = technique_for(fitting=clips) if options.curriculum else technique  # an order is of certain clips
        whole, _ = learn(clips, None, with_passes(recipe, passes), again, checkpoint=refitting)
        whole.sharpen(slope)
        said = f"all {len(clips):,} clips of {len(set(clips.signers.tolist()))} signers, {passes} passes"
        return whole, family.Fits(evaluated=chosen, shipped=said)

    if not team.first:
        shipped(*evaluated())
        return {}
    with tracking.run("signflow", options.home, params, data) as run:
        model, fitted, slope = evaluated(run.epoch)
        console.print(f"evaluated weights: {fitted.kind}, validation accuracy {fitted.score:.3f}")
        metrics, compared = report_fit(run, model, fitted.history, unseen, console)
        held_out = clips.select(np.random.default_rng(recipe.schedule.seed).permutation(test)[: splits.MOST_REFERENCES])
        others = clips.select(np.concatenate([validation, test]))
        space = embedding_space.measure(model, clips.select(fitting), others, held_out.sequences)
        served, fits = shipped(model, fitted, slope)
    for path in (checkpoint, refitting):
        path.unlink(missing_ok=True)  # a finished run is not gone on with
    trained = Trained(
        model=served,
        config=served.config,
        labels=clips.signs,
        golden=golden(unseen),
        reference=list(held_out.sequences),
        reference_labels=held_out.labels,
        reference_probabilities=probabilities(model, held_out.sequences),
        space=embedding_space.move(space, served, clips) if fits.refitted else space,
        metrics=metrics,
        params=params,
        data_manifest_sha256=data.sha256,
        mlflow_run_id=run.id,
        fits=fits,
        quick=options.quick,
        slices=compared,
    )
    return {"signflow": trained}


def _recipe(options: TrainOptions, clips: Clips) -> Recipe:
    """Return how to train: as asked for, or as is usual for such clips, in a third of the passes where it is quick."""
    recipe = options.recipe
    if recipe is None:
        recipe = Recipe() if options.data == SYNTHETIC else recipe_for(clips)
        of_schedule = {k: v for k, v in options.changes.items() if hasattr(recipe.schedule, k)}
        others = {k: v for k, v in options.changes.items() if k not in of_schedule}
        recipe = replace(recipe, **others, schedule=replace(recipe.schedule, **of_schedule))
    return with_passes(recipe, math.ceil(recipe.schedule.epochs / 3)) if options.quick else recipe


def set_aside(clips: Clips, seed: int) -> tuple[splits.Indices, splits.Indices]:
    """Return the clips that a training with a seed may learn from, and those of the signers it is tested on."""
    return splits.holdout(clips.signers, 0.2, seed)


def load(options: TrainOptions, console: Console) -> tuple[Clips, manifest.Manifest]:
    """Load or synthesise the clips, report faults, and hash what was used."""
    labels = signflow_labels.read(options.labels)
    if options.data == SYNTHETIC:
        signflow_labels.check(labels, (), ())
        clips = synthetic.generate(options.synthesis)
        return clips, manifest.of_arrays(clips.arrays(), SYNTHETIC)
    read = partial(recorded.read, on_bad=options.on_bad, signer=options.signer, labels=labels)
    clips, data = load_recorded(Path(options.data), read, recorded.files, console)
    for file in options.labels:
        data = replace(data, entries=data.entries + manifest.of_files([file], file).entries)
    return clips, data


def golden(held_out: Clips) -> list[Frames]:
    """Choose sequences that a served model must answer as the trained one: eight usual ones and six edge cases."""
    spread = np.linspace(0, len(held_out) - 1, min(8, len(held_out))).astype(np.int64)
    usual = [held_out.sequences[i].copy() for i in spread]
    longest = held_out.sequences[int(held_out.lengths.argmax())]
    points = usual[0].reshape(len(usual[0]), -1, 3)
    no_hands, no_body, gaps = points.copy(), points.copy(), points.copy()
    no_hands[:, LEFT_HAND.start :] = 0
    no_body[:, : LEFT_HAND.start] = np.nan
    gaps[::2, RIGHT_HAND] = np.nan
    edges = [
        usual[-1][:1],
        longest.copy(),
        np.concatenate([longest] * math.ceil(200 / len(longest)))[:200],  # more frames than tokens
        *(edge.reshape(-1, WIDTH) for edge in (no_hands, no_body, gaps)),
    ]
    return [*usual, *(np.ascontiguousarray(edge, dtype=np.float32) for edge in edges)]


def _device(name: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _checkpoint(options: TrainOptions, recipe: Recipe, data_sha256: str, technique: Technique, team: Team) -> Path:
    identity = asdict(recipe) | dict(technique.identity) | {"signer": options.signer}  # who is tested on
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    path = options.home / "checkpoints" / f"signflow-{data_sha256[:12]}-{name[:12]}.safetensors"
    if not options.resume and team.first and not team.restarts:
        path.unlink(missing_ok=True)
    team.wait()
    return path


def _params(
    options: TrainOptions, recipe: Recipe, clips: Clips, fitting: int, validation: int, test: int
) -> dict[str, str | int | float]:
    params: dict[str, str | int | float] = {
        "data": Path(options.data).name,
        "signs": len(clips.signs),
        "signer": options.signer,
        "labels": " ".join(file.name for file in options.labels),
    }
    params |= {"clips_training": fitting, "clips_validation": validation, "clips_test": test}
    for key, value in asdict(recipe).items():
        params |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return params


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add SignFlow's options to a command line."""
    recipe, what = Recipe(), synthetic.Synthesis()
    add_shared(parser, "an .npz file, or a folder of them")
    parser.add_argument("--size", default=recipe.size, choices=SIZES, help="network size (default: %(default)s)")
    parser.add_argument(
        "--epochs", type=int, help="most passes over the data (default: 20 generated, 24 to 80 recorded)"
    )
    parser.add_argument("--batch-size", type=int, help=f"clips per step (default: {recipe.batch_size})")
    parser.add_argument(
        "--learning-rate",
        type=float,
        help=f"at its peak (default: {recipe.schedule.learning_rate}; or the recipe's own)",
    )
    parser.add_argument("--signs", type=int, default=what.signs, help="synthetic signs (default: %(default)s)")
    parser.add_argument("--signers", type=int, default=what.signers, help="synthetic signers (default: %(default)s)")
    parser.add_argument(
        "--takes", type=int, default=what.takes, help="synthetic clips per sign and signer (default: %(default)s)"
    )
    parser.add_argument(
        "--signer",
        default="auto",
        metavar="FIELD",
        help="recorded field that distinguishes signers: source, group, seqid (default: the broadest that can)",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU where there is one"
    )
    parser.add_argument(
        "--teacher", metavar="MODEL", help="learn from a larger model besides: MODEL:VERSION of the store, or a .mar"
    )
    parser.add_argument(
        "--pretrained", type=Path, metavar="FILE", help="start from weights of scripts/pretrain.py, of the same size"
    )
    parser.add_argument(
        "--curriculum", choices=CURRICULA, default="", help="show easy clips first: short ones, or those soon learned"
    )
    parser.add_argument(
        "--labels", type=Path, nargs="+", default=[], metavar="FILE", help="queues that annotators have filled in"
    )
    parser.add_argument(
        "--no-refit", action="store_true", help="ship the evaluated fit: to teach, or to be compared on unseen signers"
    )
    parser.add_argument("--fresh", action="store_true", help="do not continue an interrupted run")


def from_arguments(arguments: argparse.Namespace, home: Path) -> TrainOptions:
    """Return the options that a command line means."""
    names = ("size", "batch_size", "epochs", "learning_rate", "seed")
    return TrainOptions(
        data=arguments.data,
        home=home,
        quick=arguments.quick,
        changes={name: value for name in names if (value := getattr(arguments, name)) is not None},
        synthesis=synthetic.Synthesis(arguments.signs, arguments.signers, arguments.takes, arguments.seed),
        on_bad=arguments.on_bad,
        signer=arguments.signer,
        resume=not arguments.fresh,
        device=arguments.device,
        teacher=archive_of(arguments.teacher, arguments.store) if arguments.teacher else None,
        pretrained=arguments.pretrained,
        curriculum=arguments.curriculum,
        labels=tuple(arguments.labels),
        refit=not arguments.no_refit,
    )


if __name__ == "__main__":
    sys.exit(cli.main("signflow"))
