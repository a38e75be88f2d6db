"""How often drift detectors raise a false alarm in a healthy month, and how soon they see a shift.

    python -m benchmarks.drift                             # prints the tables of docs/MONITORING.md; some minutes
    python -m benchmarks.drift --months 200 --only bursts  # one kind of month, roughly
    python -m benchmarks.drift --picture docs/drift_delay.svg

A month is 720 hourly batches of 256 requests that are answered with one of ten labels; every month has a reference of
its own, of 2,000 rows. "Usual rules" look at the same requests once a day: a Kolmogorov-Smirnov test at p < 0.05, and
the population stability index (PSI) over 0.1.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.host import describe_machine
from marina.monitoring.detector import Detector
from marina.monitoring.e_detector import Batch, moved_streams
from marina.monitoring.effects import kolmogorov, population_stability
from marina.monitoring.limits import limit

LABELS, REQUESTS, BATCHES, DAY = 10, 256, 720, 24
REFERENCE = 2_000
HOUR_S = 3600.0
AWAY_FROM_TEN = 0.15
"""Log-odds by which shares wander in the month whose hours resemble each other: a share of 0.10 has s.d. 1.4 points."""

Counts = NDArray[np.int64]
Month = Callable[[np.random.Generator, int, int], Iterator[Counts]]
"""Generator of random numbers, months and batches, to counts per batch, shape (months, streams)."""


def independent(rng: np.random.Generator, months: int, batches: int) -> Iterator[Counts]:
    """Each request is answered independently of the others."""
    for _ in range(batches):
        yield rng.multinomial(REQUESTS, np.full(LABELS, 1 / LABELS), months)


def daily_cycle(rng: np.random.Generator, months: int, batches: int) -> Iterator[Counts]:
    """Shares rise and fall by 0.8 points every day, inside the tolerance of one."""
    way = np.where(np.arange(LABELS) % 2 == 0, 1.0, -1.0)
    for hour in range(batches):
        shares = 1 / LABELS + 0.008 * way * math.sin(2 * math.pi * hour / DAY)
        yield rng.multinomial(REQUESTS, shares, months)


def bursts(rng: np.random.Generator, months: int, batches: int) -> Iterator[Counts]:
    """Half of the requests are of clients that ask 16 times alike; every tenth hour one asks 64 times more."""
    even = np.full(LABELS, 1 / LABELS)
    for _ in range(batches):
        burst = 64 * (rng.random(months) < 0.1)[:, None] * rng.multinomial(1, even, months)
        single = REQUESTS // 2 - burst.sum(axis=1)
        yield 16 * rng.multinomial(8, even, months) + burst + rng.multinomial(single, even)


def alike_requests(rng: np.random.Generator, months: int, batches: int) -> Iterator[Counts]:
    """Nine in ten requests are answered as the one before (autocorrelation 0.9)."""
    for _ in range(batches):
        first = rng.random((months, REQUESTS)) >= 0.9
        first[:, 0] = True
        since = np.maximum.accumulate(np.where(first, np.arange(REQUESTS), 0), axis=1)
        labels = np.take_along_axis(rng.integers(0, LABELS, (months, REQUESTS)), since, axis=1)
        flat = labels + LABELS * np.arange(months)[:, None]
        yield np.bincount(flat.ravel(), minlength=months * LABELS).reshape(months, LABELS)


def alike_hours(rng: np.random.Generator, months: int, batches: int) -> Iterator[Counts]:
    """Shares wander from hour to hour with autocorrelation 0.9."""
    level = rng.standard_normal((months, LABELS))
    for _ in range(batches):
        level = 0.9 * level + math.sqrt(1 - 0.9**2) * rng.standard_normal((months, LABELS))
        shares = np.exp(AWAY_FROM_TEN * level)
        yield rng.multinomial(REQUESTS, shares / shares.sum(axis=1, keepdims=True))


def dependent_streams(rng: np.random.Generator, months: int, batches: int) -> Iterator[Counts]:
    """Forty streams: four quantities in ten bins each, of which three in four requests have the same bin of all."""
    even = np.full(LABELS, 1 / LABELS)
    for _ in range(batches):
        shared = rng.multinomial(REQUESTS * 3 // 4, even, months)
        own = [rng.multinomial(REQUESTS // 4, even, months) for _ in range(4)]
        yield np.concatenate([shared + one for one in own], axis=1)


HEALTHY: dict[str, Month] = {
    "independent requests": independent,
    "daily cycle inside the tolerance": daily_cycle,
    "bursts of clients that repeat themselves": bursts,
    "requests with autocorrelation 0.9": alike_requests,
    "hours with autocorrelation 0.9": alike_hours,
    "40 dependent streams": dependent_streams,
}


@dataclass
class Alarms:
    """In which of the simulated months each rule raised an alarm."""

    detector: NDArray[np.bool_]
    kolmogorov: NDArray[np.bool_]
    stability: NDArray[np.bool_]


def healthy_months(month: Month, months: int, options: argparse.Namespace) -> Alarms:
    """Simulate months in which nothing drifts."""
    rng = np.random.default_rng(options.seed)
    streams = next(month(np.random.default_rng(0), 1, 1)).shape[1]
    blocks = streams // LABELS
    even = np.full(LABELS, 1 / LABELS)
    counted = np.concatenate([rng.multinomial(REFERENCE, even, months) for _ in range(blocks)], axis=1)
    detector = Detector.start(limit(counted / REFERENCE, REFERENCE, options.tolerance))
    none = np.zeros(months, bool)
    found = Alarms(none, none.copy(), none.copy())
    day = np.zeros((months, streams))
    for hour, counts in enumerate(month(rng, months, options.batches), start=1):
        batch = Batch(np.full(counts.shape, float(REQUESTS)), counts / REQUESTS)
        seen = detector.step(batch, HOUR_S)
        found.detector |= moved_streams(seen, options.budget).any(axis=1)
        day += counts
        if hour % DAY == 0:
            for block in range(blocks):
                columns = slice(block * LABELS, (block + 1) * LABELS)
                p = kolmogorov(counted[:, columns], day[:, columns])
                found.kolmogorov |= p < 0.05
                found.stability |= population_stability(counted[:, columns], day[:, columns]) > 0.1
            day[:] = 0
    return found


def delays(share: float, reference: int, months: int, options: argparse.Namespace) -> NDArray[np.float64]:
    """Return after how many batches of 200 a label's share of 0.10 that becomes another is seen; inf for never.

    Ten days of 0.10 come before; the other nine labels share the rest.
    """
    rng = np.random.default_rng(options.seed)
    before = np.full(LABELS, 1 / LABELS)
    after = np.array([share, *np.full(LABELS - 1, (1 - share) / (LABELS - 1))])
    counted = rng.multinomial(reference, before, months)
    detector = Detector.start(limit(counted / reference, reference, options.tolerance))
    size, healthy, longest = 200, 240, 100
    seen = np.full(months, np.inf)
    early = np.zeros(months, bool)
    for number in range(healthy + longest):
        counts = rng.multinomial(size, before if number < healthy else after, months)
        found = detector.step(Batch(np.full(counts.shape, float(size)), counts / size), HOUR_S)
        alarmed = moved_streams(found, options.budget).any(axis=1)
        if number < healthy:
            early |= alarmed
        else:
            seen = np.where(alarmed & np.isinf(seen), number - healthy + 1, seen)
    return seen[~early]


def percent(hits: NDArray[np.bool_]) -> str:
    """Phrase a share of months."""
    return f"{100 * hits.mean():.1f} %"


def healthy_table(options: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table of healthy months."""
    yield "| a healthy month of | months | this detector | KS, p < 0.05 daily | PSI > 0.1 daily |"
    yield "|---|---|---|---|---|"
    for name, month in HEALTHY.items():
        if options.only in name:
            found = healthy_months(month, options.months, options)
            rules = (found.detector, found.kolmogorov, found.stability)
            yield f"| {name} | {options.months:,} | {' | '.join(map(percent, rules))} |"


def delay_table(curves: dict[tuple[float, int], NDArray[Any]]) -> Iterator[str]:
    """Yield the lines of the table of delays."""
    yield "| reference rows | share becomes | seen after, median (80 % of cases) |"
    yield "|---|---|---|"
    for (share, rows), seen in curves.items():
        median, most = np.quantile(seen, [0.5, 0.8], method="inverted_cdf")
        words = [f"{value:.0f}" if np.isfinite(value) else "more than 100" for value in (median, most)]
        yield f"| {rows:,} | 0.10 → {share:.2f} | {words[0]} ({words[1]}) batches of 200 |"


def picture(curves: dict[tuple[float, int], NDArray[Any]]) -> Figure:
    """Draw the share of cases in which a shift has been seen over the number of batches since."""
    sizes = sorted({rows for _, rows in curves}, reverse=True)
    figure = Figure(figsize=(9.6, 2.8), layout="constrained")
    for place, rows in enumerate(sizes):
        axes = figure.add_subplot(1, len(sizes), place + 1)
        for share in sorted({share for share, _ in curves}):
            batches = np.arange(0, 61)
            seen = (curves[share, rows][:, None] <= batches).mean(axis=0)
            axes.step(batches, seen, where="post", label=f"0.10 → {share:.2f}")
        axes.set_title(f"reference of {rows:,} rows", fontsize=9)
        axes.set_ylim(-0.02, 1.02)
        axes.tick_params(labelsize=7)
    figure.axes[0].legend(fontsize=7)
    figure.supxlabel("batches of 200 requests since the shift", fontsize=8)
    figure.supylabel("share seen", fontsize=8)
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=2000, help="simulated months a case (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=BATCHES, help="batches a month (default: %(default)s)")
    parser.add_argument("--budget", type=float, default=0.5, help="B, false alarms a month (default: %(default)s)")
    parser.add_argument("--tolerance", type=float, default=0.01, help="of a share (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="WORDS", help="the healthy months of which this is in the name")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="also draw the delays, as .svg or .png")
    options = parser.parse_args()
    print(describe_machine())
    for line in healthy_table(options):
        print(line, flush=True)
    if not options.only:
        kinds = [(share, rows) for rows in (10_000, 2_000, 500) for share in (0.15, 0.20, 0.30)]
        curves = {kind: delays(*kind, min(options.months, 1000), options) for kind in kinds}
        print("\n".join(["", *delay_table(curves)]))
        if options.picture:
            picture(curves).savefig(options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
