"""Leave each kind of injected anomaly out of training in turn, and see whether it is found anyway.

    python -m training.budget.anomaly.unknown_kinds                     # about 20 s
    python -m training.budget.anomaly.unknown_kinds --users 150

Prints the table of docs/families/budget.md: what the isolation forest, which has no labels, is worth next to trees that
have them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console

from training.budget.anomaly.fit import BOOSTED, fit
from training.budget.anomaly.metrics import metrics_of, threshold_for
from training.budget.anomaly.recipe import Options
from training.budget.anomaly.rows import Table, table
from training.budget.synthetic.accounts import Synthesis, generate
from training.data import splits


def main(argv: list[str] | None = None) -> int:
    """Print the table, on generated households."""
    usual = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=usual.users, help="households (default: %(default)s)")
    parser.add_argument("--months", type=int, default=usual.months, help="months of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=usual.seed, help="random seed (default: %(default)s)")
    arguments = parser.parse_args(argv)
    console = Console(soft_wrap=True)
    with console.status("judging every transaction"):
        judged = table(generate(Synthesis(users=arguments.users, months=arguments.months, seed=arguments.seed)))
    kept, test = splits.holdout(judged.users, 0.25, arguments.seed)
    with console.status("training without each kind"):
        found = unknown_kinds(BOOSTED, judged.select(kept), judged.select(test), arguments.seed)
    console.print(found, highlight=False, markup=False)
    return 0


def unknown_kinds(params: Mapping[str, Any], known: Table, test: Table, seed: int = 0) -> str:
    """Leave each kind of anomaly out of training in turn, and see whether it is found; return a table in Markdown."""
    lines = [
        "| kind left out | recall, trees alone | with the forest | of known kinds | usual reported |",
        "|---|---|---|---|---|",
    ]
    for kind in np.unique(test.kinds[test.odd]).tolist():
        detector, thresholds = fit(params, known.select(known.kinds != kind), seed)
        found = metrics_of(detector.scores(test.rows), test, thresholds)
        alone = detector.boosted.decision_function(test.rows)
        bar = threshold_for(alone, test.odd, found["suspicious.false_positives"])
        others = detector.scores(test.rows[test.odd & (test.kinds != kind)]) >= thresholds["suspicious"]
        lines.append(
            f"| {kind} | {(alone[test.kinds == kind] >= bar).mean():.2f} | {found[f'suspicious.recall.{kind}']:.2f} "
            f"| {others.mean():.2f} | {found['suspicious.false_positives']:.1%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
