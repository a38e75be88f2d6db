"""Cross-validate SignFlow on recorded signing, by signer, beside a plain baseline.

    python scripts/evaluate_recorded.py --data recordings/                    # every labelled set of a folder
    python scripts/evaluate_recorded.py --data recordings/wlasl50.npz --folds 4

Prints the table of docs/experiments/recorded_data.md. The data is read in place; nothing of it is kept.
"""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from models.signflow.network import SIZES
from training.data import recorded
from training.data.quality import BadDataError
from training.signflow_crossval import cross_validate, markdown
from training.signflow_fit import RECORDED


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("MARINA_RECORDED_DATA"),
        help="an .npz file or a folder of them (default: $MARINA_RECORDED_DATA)",
    )
    parser.add_argument("--folds", type=int, default=4, help="folds of whole signers (default: %(default)s)")
    parser.add_argument("--only", type=int, nargs="*", default=[], metavar="FOLD", help="do these folds only, from 0")
    parser.add_argument("--size", default=RECORDED.size, choices=SIZES, help="network size (default: %(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.data is None:
        parser.error("say where the recorded data is: --data PATH, or MARINA_RECORDED_DATA in the environment")
    console = Console(soft_wrap=True)
    results = []
    for file in recorded.files(arguments.data):
        try:
            results.append(cross_validate(file, arguments.size, arguments.folds, console, arguments.only))
        except BadDataError:
            console.print(f"{file.name} has no labelled sequence; left out", highlight=False)
    console.print(markdown(results), highlight=False, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
