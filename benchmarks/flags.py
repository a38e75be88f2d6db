"""What an evaluation of a feature flag costs: read directly, for units seen before and new ones, and by OpenFeature.

python -m benchmarks.flags                       # prints a table; a few seconds
"""

import argparse
import itertools
import sys
import time
import timeit
from collections.abc import Callable

from openfeature.evaluation_context import EvaluationContext
from rich.console import Console
from rich.table import Table

from marina.products.flags.openfeature_provider import connect
from marina.products.flags.provider import Flags
from marina.products.flags.table import Flag

REPEATS = 7


def measure(evaluate: Callable[[], object], count: int) -> float:
    """Return microseconds of processor time an evaluation, of the best of several runs."""
    return min(timeit.repeat(evaluate, timer=time.process_time, number=count, repeat=REPEATS)) / count * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="evaluations a run (default: %(default)s)")
    options = parser.parse_args()
    split = Flag("hybrid", 0.2, changed_at=1.0)
    flags = Flags(lambda: {"rules": Flag("rules", 1.0), "hybrid": split})
    client, context = connect(flags), EvaluationContext("household-17")
    fresh = itertools.count()
    ways: dict[str, Callable[[], object]] = {
        "on for all, directly": lambda: flags.value("rules", "household-17"),
        "split, a unit seen before": lambda: flags.value("hybrid", "household-17"),
        "split, a new unit": lambda: flags.value("hybrid", f"household-{next(fresh)}"),
        "split, by OpenFeature": lambda: client.get_boolean_value("hybrid", False, context),
    }
    table = Table("evaluation", "µs", box=None)
    for name, way in ways.items():
        table.add_row(name, f"{measure(way, options.count):.2f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
