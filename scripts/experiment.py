"""Ask whether a training technique helps: several arms at equal cost, several seeds, people no arm has seen.

    python scripts/experiment.py curriculum                                    # on generated signing
    python scripts/experiment.py curriculum --data recordings/common_signs.npz --seeds 0 1 2 3

Prints the table and draws the picture of docs/experiments, and keeps both in MLflow (experiment signflow-NAME). Every
finished training is kept in a results file, so an interrupted experiment continues where it was.
`training/signflow/experiments/NAME.py` says what is compared.
"""

import argparse
import hashlib
import importlib
import sys
from pathlib import Path

from rich.console import Console

from archives.errors import MarinaError
from marina.settings import ROOT, read_settings
from models.signflow.network import SIZES
from training import tracking
from training.data.manifest import SYNTHETIC
from training.signflow.experiments import harness


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="name", required=True, metavar="EXPERIMENT")
    for path in sorted((ROOT / "training" / "signflow" / "experiments").glob("[a-z]*.py")):
        if path.stem == "harness":
            continue
        module = importlib.import_module(f"training.signflow.experiments.{path.stem}")
        command = commands.add_parser(
            path.stem,
            help=str(module.__doc__).splitlines()[0],
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument(
            "--data",
            default=SYNTHETIC,
            metavar="PATH",
            help='an .npz file of recorded sequences, or "synthetic" (default)',
        )
        command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
        command.add_argument(
            "--out", type=Path, default=read_settings().state_dir / "experiments", help="folder (default: %(default)s)"
        )
        if hasattr(module, "add_arguments"):
            module.add_arguments(command)
    arguments = parser.parse_args(argv)
    console = Console(soft_wrap=True, highlight=False)
    module = importlib.import_module(f"training.signflow.experiments.{arguments.name}")
    try:
        data = harness.load(arguments.data)
    except (MarinaError, FileNotFoundError) as error:
        console.print(str(error), style="red")
        return 1
    arms = module.arms(arguments, data)
    stem = arguments.out / f"{arguments.name}-{data.name}"
    chosen = ("name", "data", "seeds", "out", "sizes")  # which outcomes, not how they came to be
    options = {name: value for name, value in vars(arguments).items() if name not in chosen}
    options["networks"] = hashlib.sha256(repr(SIZES).encode()).hexdigest()[:8]  # a size may come to name another one
    home = read_settings().state_dir
    with tracking.run(f"signflow-{arguments.name}", home, {**vars(arguments), **options}) as tracked:
        outcomes = harness.run(arms, arguments.seeds, stem.with_suffix(".jsonl"), console.print, options)
        for outcome in outcomes:
            tracked.child(
                f"{outcome.arm}, seed {outcome.seed}", {"arm": outcome.arm, "seed": outcome.seed}, outcome.metrics
            )
        table = harness.markdown(arms, outcomes)
        console.print(table, markup=False)
        tracked.text(table, "table.md")
        draw = getattr(module, "figure", harness.intervals)
        figure = draw(arms, outcomes, f"{arguments.name} on {data.name}")
        figure.savefig(stem.with_suffix(".png"), dpi=120)
        tracked.figure(figure, "intervals")
    console.print(f"results {stem}.jsonl, picture {stem}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
