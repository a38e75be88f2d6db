"""Cross-validate a family on recorded data, beside plain baselines, on people, projects or times neither has seen.

    python scripts/cross_validate.py signflow --data recordings/             # every labelled set of a folder
    python scripts/cross_validate.py signflow --data recordings/wlasl50.npz --folds 4
    python scripts/cross_validate.py catalog --data products.csv.gz

Prints the tables of docs/families and docs/experiments. The data is read in place; nothing of it is kept but
the tables, in MLflow (experiment FAMILY-cross-validation).
`training/FAMILY/cross_validation.py` says how a family is evaluated.
"""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from archives.errors import MarinaError
from marina.settings import read_settings
from training import tracking
from training.family import cross_validation, families


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="family", required=True, metavar="FAMILY")
    recorded = os.environ.get("MARINA_RECORDED_DATA")
    for family in families("cross_validation"):
        command = commands.add_parser(family, help=f"evaluate {family}")
        command.add_argument(
            "--data",
            type=Path,
            default=Path(recorded) / family if recorded else None,
            help=f"a file of recorded data or a folder of them (default: $MARINA_RECORDED_DATA/{family})",
        )
        if family in argv:  # one family's libraries are slow enough to import
            cross_validation(family).add_arguments(command)
    arguments = parser.parse_args(argv)
    if arguments.data is None:
        parser.error("name the recorded data: --data PATH, or MARINA_RECORDED_DATA in the environment")
    console = Console(soft_wrap=True, record=True)
    try:
        with tracking.run(f"{arguments.family}-cross-validation", read_settings().state_dir, vars(arguments)) as run:
            cross_validation(arguments.family).evaluate(arguments, console)
            run.text(console.export_text(), "tables.txt")
    except (MarinaError, FileNotFoundError) as error:
        console.print(str(error), style="red", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
