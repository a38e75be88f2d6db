"""How the collector works: a little at a time, evenly, and with more of a core only where much waits.

Workers on the same cores hardly notice work of a millisecond or two, but thirty at once. So lines are
read by the hundred, with a nap between, and the collector rests several times as long as it worked. Where much waits,
the spool would fill up before long: then it works half of the time, and in the end as much as it may.
"""

import time
from collections.abc import Iterable, Iterator

AT_ONCE = 100
"""Lines that are read between two naps: about a millisecond."""

NAP_S = 0.002
STEP_S = 0.05
"""Between two steps, as long as it keeps up: a transaction costs half a millisecond, however few its rows."""

IDLE_S = 0.5
REST = 4.0
"""Rests this many times as long as it worked (processor time): a fifth of a core, 15,000 answers a second."""

MUCH, TOO_MUCH = 1 / 8, 1 / 2
"""Of what may wait."""


class Pace:
    """Says when to rest.

    Parameters
    ----------
    limit_bytes
        What may wait; beyond it answers are dropped.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._waiting = 0
        self._worked_s = time.thread_time()

    def evenly(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield lines, with a nap after each hundred unless much waits."""
        nap_s = 0.0 if self._waiting > MUCH * self._limit_bytes else NAP_S
        for number, line in enumerate(lines, 1):
            yield line
            if nap_s and number % AT_ONCE == 0:
                time.sleep(nap_s)

    def rest_s(self, found: bool, waiting_bytes: int, behind: bool) -> float:
        """Return how long to rest after a step.

        Parameters
        ----------
        found
            Whether there was anything to do.
        waiting_bytes
            What is left.
        behind
            Whether more was there than a step takes.
        """
        before, self._worked_s = self._worked_s, time.thread_time()
        self._waiting = waiting_bytes
        worked_s = self._worked_s - before
        if not found:
            return IDLE_S
        if waiting_bytes > TOO_MUCH * self._limit_bytes:
            return 0.0
        if waiting_bytes > MUCH * self._limit_bytes:
            return worked_s
        return REST * worked_s if behind else max(STEP_S, REST * worked_s)
