"""Leave each kind of injected anomaly out of training in turn, and see whether it is found all the same.

    python scripts/budget_unknown_kinds.py                     # about 20 s
    python scripts/budget_unknown_kinds.py --users 150

Prints the table of docs/families/budget.md: what the isolation forest, which has no labels, is worth beside trees that
have them.
"""

import argparse
import sys

from rich.console import Console

from training.budget_anomaly import Options
from training.budget_anomaly_fit import BOOSTED, unknown_kinds
from training.budget_anomaly_table import table
from training.data import splits
from training.data.budget_synthetic import Synthesis, generate


def main(argv: list[str] | None = None) -> int:
    usual = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=usual.users, help="households (default: %(default)s)")
    parser.add_argument("--months", type=int, default=usual.months, help="months of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=usual.seed, help="seed of all chance (default: %(default)s)")
    arguments = parser.parse_args(argv)
    console = Console(soft_wrap=True)
    with console.status("judging every transaction"):
        judged = table(generate(Synthesis(users=arguments.users, months=arguments.months, seed=arguments.seed)))
    kept, test = splits.holdout(judged.users, 0.25, arguments.seed)
    fitting, validation = (kept[part] for part in splits.holdout(judged.users[kept], 0.3, arguments.seed))
    with console.status("training without each kind"):
        learned, chosen, asked = (judged.select(part) for part in (fitting, validation, test))
        found = unknown_kinds(BOOSTED, learned, chosen, asked, arguments.seed)
    console.print(found, highlight=False, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
