"""SignFlow's recipe: from clips to a trained model and everything its archive has to prove.

options ─ load ─> clips ─ split by signer ─> training, validation, test ─ fit ─> model ─ evaluate ─> Trained

One process trains with ``python scripts/train.py signflow``; several with

    torchrun --nproc-per-node 2 -m training.signflow --data recordings/common_signs.npz
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from models.signflow.landmarks import LEFT_HAND, RIGHT_HAND, WIDTH
from models.signflow.network import SIZES, SignFlow, SignFlowConfig
from models.signflow.sequences import Frames
from training import command, evaluate, pictures, tracking
from training.arguments import add_shared
from training.data import manifest, quality, signflow_labels, splits
from training.data import signflow_recorded as recorded
from training.data import signflow_synthetic as synthetic
from training.data.signflow_clips import Clips
from training.distributed import Team, joined
from training.signflow_curriculum import CURRICULA, curriculum
from training.signflow_distill import archive_of, taught_by
from training.signflow_fit import RECORDED, USUAL, Recipe, Technique, fit, probabilities
from training.signflow_pretrain import begun_from

MODELS = ("signflow",)
SYNTHETIC = "synthetic"
MOST_REFERENCES = 512


@dataclass(frozen=True)
class TrainOptions:
    """One training run.

    Attributes
    ----------
    data
        "synthetic", or the path of an ``.npz`` file or a folder of them.
    home
        Folder for checkpoints and the local MLflow database.
    recipe
        How to train.
    synthesis
        What to synthesise, where `data` says so.
    on_bad
        Whether bad recorded data is skipped or refused.
    signer
        The recorded field that tells signers apart, or "auto".
    resume
        Whether to go on from the last epoch of an interrupted run of the same data and recipe.
    device
        "cpu", "cuda", or "auto" for a GPU where there is one.
    teacher
        The archive of a larger model to learn from besides, if any.
    pretrained
        Weights of scripts/pretrain.py to start from.
    curriculum
        A name in ``training.signflow_curriculum.CURRICULA``, or empty for the usual order of the clips.
    labels
        Queues of scripts/annotation_queue.py that came back from annotators.
    """

    data: str = SYNTHETIC
    home: Path = Path(".marina")
    recipe: Recipe = field(default_factory=Recipe)
    synthesis: synthetic.Synthesis = field(default_factory=synthetic.Synthesis)
    on_bad: quality.OnBad = "skip"
    signer: str = "auto"
    resume: bool = True
    device: str = "auto"
    teacher: Path | None = None
    pretrained: Path | None = None
    curriculum: str = ""
    labels: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Trained:
    """A trained model with what its certificate and provenance are made of.

    Attributes
    ----------
    model
        In eval mode on the CPU, with the weights that serve.
    config, labels
        Its shape, and the sign of each logit.
    golden
        Held-out sequences float32 [T, 225], edge cases among them.
    reference, reference_labels
        At most 512 held-out sequences for reference distributions, and their labels int64 [N].
    metrics
        On signers never seen in training.
    params
        Of the run.
    data_manifest_sha256, mlflow_run_id
        Which data and which run.
    """

    model: SignFlow
    config: SignFlowConfig
    labels: tuple[str, ...]
    golden: list[Frames]
    reference: list[Frames]
    reference_labels: npt.NDArray[np.int64]
    metrics: dict[str, float]
    params: dict[str, str | int | float]
    data_manifest_sha256: str
    mlflow_run_id: str


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
    training.checkpoint.CheckpointError
        If the pretrained weights are none, do not fit, or have seen the people to be tested on.
    """
    with joined(_device(options.device)) as team:
        return _train(options, console if console and team.first else Console(quiet=True), team)


def _train(options: TrainOptions, console: Console, team: Team) -> dict[str, Trained]:
    recipe = options.recipe
    clips, data = load(options, console)
    kept, test = set_aside(clips, recipe.schedule.seed)
    fitting, validation = (kept[part] for part in splits.holdout(clips.signers[kept], 0.15, recipe.schedule.seed))
    params = _params(options, clips, len(fitting), len(validation), len(test))
    technique = _technique(options, clips.select(fitting), clips.select(test), data, console, team.device)
    params |= {name: str(value) for name, value in technique.identity.items()}
    checkpoint = _checkpoint(options, data.sha256, technique, team)
    if checkpoint.exists():
        console.print("an interrupted run of this data and recipe is there: going on from its last epoch")
    learn = partial(
        fit,
        clips.select(fitting),
        clips.select(validation),
        recipe,
        technique,
        console=console,
        device=team.device,
        checkpoint=checkpoint,
        team=team,
    )
    if not team.first:
        learn()
        return {}
    with tracking.run("signflow", options.home, params, data) as run:
        model, fitted = learn(on_epoch=run.epoch)
        console.print(f"serving weights: {fitted.kind}, validation accuracy {fitted.score:.3f}")
        report = evaluate.evaluate(probabilities(model, clips.select(test).sequences), clips.labels[test], clips.signs)
        console.print(f"on {len(set(clips.signers[test].tolist()))} unseen signers, {report}", highlight=False)
        run.metrics(report.metrics, len(fitted.history))
        run.text("\n".join(f"{sign}\t{f1:.4f}" for sign, f1 in report.sign_f1.items()), "sign_f1.tsv")
        run.figure(pictures.learning_curves(fitted.history), "learning_curves")
        run.figure(pictures.confusion_matrix(report, clips.signs), "confusion_matrix")
    checkpoint.unlink()  # a finished run is not gone on with
    held_out = clips.select(np.random.default_rng(recipe.schedule.seed).permutation(test)[:MOST_REFERENCES])
    trained = Trained(
        model=model,
        config=model.config,
        labels=clips.signs,
        golden=golden(clips.select(test)),
        reference=list(held_out.sequences),
        reference_labels=held_out.labels,
        metrics=report.metrics,
        params=params,
        data_manifest_sha256=data.sha256,
        mlflow_run_id=run.id,
    )
    return {"signflow": trained}


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
    path = Path(options.data)
    clips, faults = recorded.read(path, on_bad=options.on_bad, signer=options.signer, labels=labels)
    if faults:
        console.print(quality.report(faults), highlight=False)
    data = manifest.of_files(recorded.files(path), path)
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


def _technique(
    options: TrainOptions, fitting: Clips, test: Clips, data: manifest.Manifest, console: Console, device: str
) -> Technique:
    recipe, technique = options.recipe, USUAL
    if options.teacher is not None:
        gpu = torch.device(device).index or 0 if device.startswith("cuda") else None
        technique = taught_by(
            options.teacher, fitting.signs, data.sha256, recipe.schedule.seed, console, options.signer, gpu
        )
    if options.pretrained is not None:
        technique = begun_from(options.pretrained, recipe.size, test, technique)
    if options.curriculum:
        technique = curriculum(options.curriculum, fitting, recipe, technique, device)
    return technique


def _checkpoint(options: TrainOptions, data_sha256: str, technique: Technique, team: Team) -> Path:
    told = asdict(options.recipe) | dict(technique.identity) | {"signer": options.signer}  # who is tested on
    recipe = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    path = options.home / "checkpoints" / f"signflow-{data_sha256[:12]}-{recipe[:12]}.safetensors"
    if not options.resume and team.first and not team.restarts:
        path.unlink(missing_ok=True)
    team.wait()
    return path


def _params(
    options: TrainOptions, clips: Clips, fitting: int, validation: int, test: int
) -> dict[str, str | int | float]:
    recipe = asdict(options.recipe)
    params: dict[str, str | int | float] = {
        "data": Path(options.data).name,
        "signs": len(clips.signs),
        "signer": options.signer,
        "labels": " ".join(file.name for file in options.labels),
    }
    params |= {"clips_training": fitting, "clips_validation": validation, "clips_test": test}
    for key, value in recipe.items():
        params |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return params


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add SignFlow's options to a command line."""
    recipe, what = Recipe(), synthetic.Synthesis()
    add_shared(parser, "an .npz file, or a folder of them")
    parser.add_argument("--size", default=recipe.size, choices=SIZES, help="network size (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="passes over the data (default: 12 synthetic, 60 recorded)")
    parser.add_argument(
        "--batch-size", type=int, default=recipe.batch_size, help="clips per step (default: %(default)s)"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=recipe.schedule.learning_rate, help="at its peak (default: %(default)s)"
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
        help="recorded field that tells signers apart: source, group, seqid (default: the broadest that can)",
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
        "--curriculum", choices=CURRICULA, default="", help="show easy clips first: short ones, or those soon known"
    )
    parser.add_argument(
        "--labels", type=Path, nargs="+", default=[], metavar="FILE", help="queues that annotators have filled in"
    )
    parser.add_argument("--fresh", action="store_true", help="do not go on with an interrupted run")


def from_arguments(arguments: argparse.Namespace, home: Path) -> TrainOptions:
    """Return the options that a command line means."""
    made_up = arguments.data == SYNTHETIC
    recipe = Recipe() if made_up else RECORDED
    schedule = replace(
        recipe.schedule,
        epochs=arguments.epochs or recipe.schedule.epochs,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
    )
    return TrainOptions(
        data=arguments.data,
        home=home,
        recipe=replace(recipe, size=arguments.size, batch_size=arguments.batch_size, schedule=schedule),
        synthesis=synthetic.Synthesis(arguments.signs, arguments.signers, arguments.takes, arguments.seed),
        on_bad=arguments.on_bad,
        signer=arguments.signer,
        resume=not arguments.fresh,
        device=arguments.device,
        teacher=archive_of(arguments.teacher, arguments.store) if arguments.teacher else None,
        pretrained=arguments.pretrained,
        curriculum=arguments.curriculum,
        labels=tuple(arguments.labels),
    )


if __name__ == "__main__":
    sys.exit(command.main("signflow"))
