"""Measure how far few labels go, on generated accounts: rules, tags, synthesis, guesses, well-chosen questions.

    python scripts/budget_few_labels.py                       # 0.8 % tagged, 30 households: about a minute
    python scripts/budget_few_labels.py --share 0.02 --users 60 --seed 3

Prints the table of docs/families/budget.md.
"""

import argparse
import sys

from rich.console import Console

from training.budget_few_labels import compare, markdown


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.008, help="of the transactions tagged (default: %(default)s)")
    parser.add_argument("--users", type=int, default=30, help="households to learn from (default: %(default)s)")
    parser.add_argument("--months", type=int, default=12, help="of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    outcomes = compare(
        arguments.users,
        arguments.months,
        arguments.share,
        arguments.seed,
        console=Console(stderr=True, highlight=False),
    )
    print(markdown(outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
