"""Pretrain SignFlow on sequences without labels, and write the weights that a training starts from.

    python scripts/pretrain.py --data recordings --apart-from recordings/common_signs.npz --out pretrained.safetensors
    python scripts/train.py signflow --data recordings/common_signs.npz --pretrained pretrained.safetensors

Landmarks are hidden and the network says where they were (`training/signflow/pretraining.py`). The people whom a
training with the same --seed is tested on are left out, in every file. The run is recorded in MLflow, and continues
where it was interrupted.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from archives.errors import MarinaError
from marina.settings import read_settings
from models.signflow.network import SIZES
from training import tracking
from training.data import manifest
from training.data.manifest import SYNTHETIC
from training.evaluation.plots import learning_curves
from training.signflow import recorded
from training.signflow import unlabelled as signflow_unlabelled
from training.signflow.clips import Clips
from training.signflow.fit import Recipe
from training.signflow.pretraining import PRETRAINING, Masking, pretrain, save
from training.signflow.recipe import set_aside
from training.signflow.synthetic import signing as synthetic
from training.signflow.unlabelled import Unlabelled


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        required=True,
        metavar="PATH",
        help='an .npz file, a folder of them, or "synthetic"; labels are not read',
    )
    parser.add_argument("--apart-from", metavar="PATH", help="labelled data whose test people are to stay unseen")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="safetensors file to write")
    parser.add_argument("--size", default=PRETRAINING.size, choices=SIZES, help="network size (default: %(default)s)")
    parser.add_argument(
        "--epochs", type=int, default=PRETRAINING.schedule.epochs, help="passes over the data (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the training's: it chooses its test people (default: 0)")
    parser.add_argument("--signer", default="auto", metavar="FIELD", help="as for the training (default: auto)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument("--fresh", action="store_true", help="do not continue an interrupted run")
    arguments = parser.parse_args(argv)
    console = Console(soft_wrap=True, highlight=False)
    schedule = replace(PRETRAINING.schedule, epochs=arguments.epochs, seed=arguments.seed)
    recipe = replace(PRETRAINING, size=arguments.size, schedule=schedule)
    try:
        run(arguments, recipe, console)
    except (MarinaError, FileNotFoundError) as error:
        console.print(str(error), style="red")
        return 1
    return 0


def run(arguments: argparse.Namespace, recipe: Recipe, console: Console) -> None:
    unlabelled = read(arguments.data, arguments.seed)
    if arguments.apart_from:
        clips = labelled(arguments.apart_from, arguments.seed, arguments.signer)
        test = clips.select(set_aside(clips, arguments.seed)[1])
        console.print(f"{len(set(test.signers.tolist()))} signers of {arguments.apart_from} are left out")
        unlabelled = unlabelled.apart_from(test)
    if not unlabelled.sequences:
        raise FileNotFoundError(f"nothing to learn from in {arguments.data}: all of it is of people to be tested on")
    data = manifest.of_arrays(unlabelled.clips().arrays(), Path(arguments.data).name)
    masking = Masking()
    identity = {"data": data.sha256, **asdict(recipe), **asdict(masking)}
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    checkpoint = read_settings().state_dir / "checkpoints" / f"pretraining-{name}.safetensors"
    if arguments.fresh:
        checkpoint.unlink(missing_ok=True)
    params = {"data": data.name, "sequences": len(unlabelled.sequences), "size": recipe.size, **asdict(masking)}
    params |= {f"schedule.{name}": value for name, value in asdict(recipe.schedule).items()}
    with tracking.run("signflow-pretraining", read_settings().state_dir, params, data) as tracked:
        weights, fitted = pretrain(
            unlabelled, recipe, masking, console=console, device=arguments.device, checkpoint=checkpoint,
            on_epoch=tracked.epoch,
        )  # fmt: skip
        tracked.figure(learning_curves(fitted.history), "learning_curves")
    save(arguments.out, weights, recipe.size, unlabelled, data=data.sha256, mlflow_run_id=tracked.id)
    checkpoint.unlink()  # a finished run is not gone on with
    console.print(f"wrote {arguments.out}: loss {fitted.history[-1].loss:.3f} on {len(unlabelled.sequences)} sequences")


def read(data: str, seed: int) -> Unlabelled:
    if data == SYNTHETIC:
        return Unlabelled.of(labelled(data, seed))
    return signflow_unlabelled.read(Path(data))


def labelled(data: str, seed: int, signer: str = "auto") -> Clips:
    if data == SYNTHETIC:
        return synthetic.generate(synthetic.Synthesis(seed=seed))
    return recorded.read(Path(data), signer=signer)[0]


if __name__ == "__main__":
    sys.exit(main())
