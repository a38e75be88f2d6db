"""Latencies as counts in buckets that grow by 2 %: they merge by adding, and quantiles are right to within 1 %.

Bucket b > 0 holds answers in (1.02^(b-1), 1.02^b] milliseconds, bucket 0 those of up to 1 ms. A version's minute is a
few dozen integers, whatever its traffic (DDSketch: Masson, Rim & Lee, VLDB 2019).
"""

import json
import math
from collections.abc import Mapping

GROWTH = 1.02
Counts = Mapping[int, int]


def bucket(ms: float) -> int:
    """Return the bucket of a latency in milliseconds."""
    return max(0, math.ceil(math.log(ms) / math.log(GROWTH))) if ms > 1 else 0


def add(one: Counts, other: Counts) -> dict[int, int]:
    """Return the counts of both."""
    return {key: one.get(key, 0) + other.get(key, 0) for key in sorted(one.keys() | other.keys())}


def quantile(counts: Counts, q: float) -> float:
    """Return a quantile in milliseconds; within 1 % of the answer of that rank, if it took more than 1 ms.

    Parameters
    ----------
    q
        From 0 (the fastest answer) to 1 (the slowest).

    Raises
    ------
    ValueError
        When there are no counts.
    """
    total = sum(counts.values())
    if not total:
        raise ValueError("there are no latencies to take a quantile of")
    rank, seen = q * (total - 1), 0
    for key in sorted(counts):
        seen += counts[key]
        if seen > rank:
            break
    return 2 * GROWTH**key / (1 + GROWTH)  # as far from the bucket's one end as from the other, relative to them


def slower(counts: Counts, ms: float) -> int:
    """Return how many answers are in a bucket above that of `ms` milliseconds."""
    limit = bucket(ms)
    return sum(count for key, count in counts.items() if key > limit)


def to_json(counts: Counts) -> str:
    """Write counts as ``{"bucket":count}``, in order: equal counts give equal text."""
    return json.dumps({str(key): counts[key] for key in sorted(counts)}, separators=(",", ":"))


def from_json(text: str) -> dict[int, int]:
    """Read what `to_json` wrote."""
    return {int(key): count for key, count in json.loads(text).items()}
