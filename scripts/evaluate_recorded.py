"""Cross-validate a family on recorded data, beside plain baselines, on people, projects or times neither has seen.

    python scripts/evaluate_recorded.py signflow --data recordings/             # every labelled set of a folder
    python scripts/evaluate_recorded.py signflow --data recordings/wlasl50.npz --folds 4
    python scripts/evaluate_recorded.py catalog --data products.csv.gz

Prints the tables of docs/families and docs/experiments. The data is read in place; nothing of it is kept.
`training/FAMILY_crossval.py` says how a family is evaluated.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

from rich.console import Console

from training.data.quality import BadDataError

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="family", required=True, metavar="FAMILY")
    recorded = os.environ.get("MARINA_RECORDED_DATA")
    for path in sorted(ROOT.glob("training/*_crossval.py")):
        family = path.name.removesuffix("_crossval.py")
        command = commands.add_parser(family, help=f"evaluate {family}")
        command.add_argument(
            "--data",
            type=Path,
            default=Path(recorded) / family if recorded else None,
            help=f"a file of recorded data or a folder of them (default: $MARINA_RECORDED_DATA/{family})",
        )
        importlib.import_module(f"training.{family}_crossval").add_arguments(command)
    arguments = parser.parse_args(argv)
    if arguments.data is None:
        parser.error("say where the recorded data is: --data PATH, or MARINA_RECORDED_DATA in the environment")
    console = Console(soft_wrap=True)
    try:
        importlib.import_module(f"training.{arguments.family}_crossval").evaluate(arguments, console)
    except (BadDataError, FileNotFoundError) as error:
        console.print(str(error), style="red", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
