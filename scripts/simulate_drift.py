"""Say what would be seen of a shift, and after how many requests, before it happens.

Example
-------
    python scripts/simulate_drift.py --reference-dist archives/store/catalog-1.0.mar --shift drift=0.3
    python scripts/simulate_drift.py --model signflow --shift label:hello=0.2 --shift confidence=-0.05
    python scripts/simulate_drift.py --model catalog --shift characters=+0.5 --requests 1000

Requests are rows of the archive's reference, at random, and changed: drift=SHARE moves every quantity of that share of
them by a standard deviation; NAME=+S one quantity of all by S of them; NAME=missing:SHARE takes it away;
label:LABEL=SHARE changes how often it is answered; confidence=-POINTS how sure answers are.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from archives.archive import open_archive
from archives.contract import ArchiveError
from archives.errors import MarinaError
from archives.reference import Reference, read_reference
from archives.store import newest
from marina.monitoring import shifts
from marina.monitoring.drift_view import HEAD, cells, quantities
from marina.monitoring.streams import Watchlist
from marina.monitoring.watch_settings import WatchSettings
from marina.processes.console import show
from marina.settings import Settings, read_settings

ANSWERS = ("confidence", "predicted", "label", "truth")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--reference-dist", type=Path, metavar="FILE", help="an archive, or a reference.npz")
    source.add_argument("--model", help="the newest archive of the store")
    parser.add_argument("--shift", action="append", required=True, metavar="drift=0.3", help=shifts.FORMS)
    parser.add_argument("--requests", type=int, default=256, help="requests an hour (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=20, help="how often it is tried (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    options = parser.parse_args(argv)
    settings = read_settings()
    try:
        watchlist = Watchlist.of(_reference(settings, options))
        chosen = [shifts.parse(text, watchlist.reference) for text in options.shift]
        watched = WatchSettings(settings.drift_budget, settings.drift_tolerance)
        seen = shifts.simulate(
            watchlist, chosen, watched, max(1, options.requests), repetitions=options.repetitions, seed=options.seed
        )
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    _print(seen, options, len(watchlist.streams))
    return 0


def _print(seen: shifts.Seen, options: argparse.Namespace, streams: int) -> None:
    console = Console()
    median, most = np.quantile(seen.batches, [0.5, 0.9], method="inverted_cdf")
    console.print(f"{', '.join(options.shift)}: {streams} streams, {options.requests} requests an hour")
    if math.isfinite(median):
        more = f"{most:.0f}" if math.isfinite(most) else "more than 100"
        console.print(
            f"seen after {median:.0f} batches in the median ({median * options.requests:,.0f} requests); "
            f"nine in ten within {more}"
        )
    else:
        share = np.isfinite(seen.batches).mean()
        console.print(f"not seen within 100 batches in most repetitions ({100 * share:.0f} % saw it)")
    if seen.early:
        console.print(f"{seen.early} false alarms before the shift, in {options.repetitions} times two days")
    for about, share in list(seen.named.items())[:8]:
        console.print(f"  {100 * share:.0f} % name {about}", highlight=False)
    table = Table(title="what a report of a day would show", title_justify="left")
    for place, name in enumerate(HEAD):
        table.add_column(name, justify="left" if place == 0 else "right")
    for one in quantities(seen.figures)[:12]:
        table.add_row(*cells(one))
    console.print(table)


def _reference(settings: Settings, options: argparse.Namespace) -> Reference:
    path: Path | None = options.reference_dist
    if path is None:
        stored = [one.path for one in newest(settings.archive_store) if one.model == options.model]
        if not stored:
            raise ArchiveError(
                f"there is no archive of {options.model} in {settings.archive_store}: build it, or name "
                "a file with --reference-dist"
            )
        path = stored[0]
    if path.suffix != ".npz":
        return read_reference(open_archive(path))
    try:
        with np.load(path, allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise ArchiveError(f"{path} cannot be read: {error}. Name an archive, or the reference.npz of one.") from error
    numbers = {name: one.astype(np.float32) for name, one in kept.items() if name not in ANSWERS and one.ndim == 1}
    predicted = kept.get("predicted")
    labels = tuple(str(place) for place in range(int(predicted.max()) + 1)) if predicted is not None else ()
    return Reference(numbers, kept.get("confidence"), predicted, labels)


if __name__ == "__main__":
    sys.exit(main())
