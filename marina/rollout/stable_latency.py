"""Stable's p95, of quiet times only: what a canary's answers are held against for the whole rollout.

A worker that dies, a server with more requests than it can answer and a model that has just been loaded all make
answers slow for a while. A p95 of such an hour would let any canary pass. So windows in which a request failed more
often than rarely, or a worker died of one, are left out; the others are taken together in blocks of about
`BLOCK` requests, of which none that is too slow for quiet times counts; and of what their p95s are the median is taken,
so that less than half of the time may have been odd in a way that no one noticed.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from marina.database.tables import EVIDENCE
from marina.events import latency_histogram

FEWEST = 200
"""This many of stable's answers in quiet times have to be known before their p95 is taken for it."""

BLOCK = 100
"""Answers of one p95, at least. That of few is lower than that of all, as a rule."""

MOST_ERRORS = 0.01
"""A window in which a larger share of the requests failed is not quiet."""

MOST_PART = 0.1
"""A p95 beyond this part of the time limit of requests is none of quiet times."""


@dataclass(frozen=True)
class StableLatency:
    """What is known of stable's latency.

    Attributes
    ----------
    p95_ms
        Its p95 in quiet times; None while too few answers of such times are known.
    answers, quiet
        How many answers of stable's are known, and how many of them are of quiet times.
    most_ms
        What a p95 of quiet times is at most.
    """

    p95_ms: float | None
    answers: int
    quiet: int
    most_ms: float

    @property
    def missing(self) -> str:
        """What is missing before a p95 can be taken, as text; empty when nothing is."""
        if self.p95_ms is not None:
            return ""
        return (
            f"latency needs {FEWEST - self.quiet} more answers of stable's in quiet times ({self.quiet} of "
            f"{self.answers} are: no worker died, at most {100 * MOST_ERRORS:g} % failed, p95 at most {self.most_ms:g} "
            "ms)"
        )


def read_stable_latency(
    connection: sa.Connection, model: str, version: str, since: float, most_ms: float = math.inf
) -> StableLatency:
    """Find the p95 of a version's answers in quiet times.

    Parameters
    ----------
    connection
        To read from.
    model, version
        Whose.
    since
        Only of windows that begin from then on, in seconds since 1970.
    most_ms
        Blocks with a p95 beyond this are not quiet.

    Returns
    -------
    StableLatency
        The median of the blocks' p95s, in milliseconds, where the quiet ones have at least `FEWEST` answers.
    """
    table = EVIDENCE.c
    chosen = (
        sa.select(table.latencies, table.requests, table.errors, table.retried)
        .where(table.model == model, table.version == version, table.start >= math.ceil(since))
        .order_by(table.start, table.replica)
    )
    answers, quiet = 0, []
    for row in connection.execute(chosen):
        latencies = Counter(latency_histogram.from_json(row.latencies))
        answers += latencies.total()
        if not row.retried and row.errors <= MOST_ERRORS * row.requests:
            quiet.append(latencies)
    blocks = [block for block in _join(quiet) if latency_histogram.quantile(block, 0.95) <= most_ms]
    count = sum(block.total() for block in blocks)
    p95s = [latency_histogram.quantile(block, 0.95) for block in blocks]
    return StableLatency(statistics.median(p95s) if count >= FEWEST else None, answers, min(count, FEWEST), most_ms)


def _join(windows: list[Counter[int]]) -> Iterator[Counter[int]]:
    """Join windows, in their order, into blocks of at least `BLOCK` answers; fewer only where there are no more."""
    left = sum(window.total() for window in windows)
    block: Counter[int] = Counter()
    for window in windows:
        block += window
        left -= window.total()
        if block.total() >= BLOCK and left >= BLOCK:
            yield block
            block = Counter()
    if block:
        yield block
