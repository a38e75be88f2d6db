"""How many requests of a version may be in flight at once: as many as it answers within a part of the time limit.

A queue that is bounded by a number holds work for milliseconds in front of one model and for minutes in front of
another, and what waits for longer than its client does is computed for no client. So it is bounded by time: a version's
limit is what it answers a second, times `wait_s`. At first that is guessed from its own example; then it is measured
while requests queue, since a queue that never empties says that the version gives what it can (Little's law: what
waits, over what leaves, is how long the next one will wait).

The gateway enforces it: nginx has a counter for each of the `TIERS`, and a version's folder says which one counts
(`marina.serving.traffic_routes`).
"""

from collections import deque
from dataclasses import dataclass

TIERS: tuple[int, ...] = tuple(2**power for power in range(2, 11))
"""The limits there are: 4 to 1024 requests."""

QUEUED_PART = 1 / 3  # of the time limit may be spent waiting
MEASURED_OVER_S = 5.0
LEAST_STARTED = 5  # requests that must have left the queue for a rate to be one
SHORT = 0.45  # waits under this part of what they may be are short: twice as many may wait


def tier(requests: float) -> int:
    """Return the largest of the limits that is not above `requests`, or the smallest there is."""
    return max((one for one in TIERS if one <= requests), default=TIERS[0])


@dataclass(frozen=True)
class Look:
    """What is known of a version at one moment.

    Attributes
    ----------
    time_s
        When, on a clock that does not jump.
    arrived
        Requests that came to TorchServe since it started.
    queued
        Those that wait there.
    refused
        Those that the gateway rejected for this limit since the look before.
    """

    time_s: float
    arrived: float
    queued: int
    refused: int


class Limit:
    """The limit of one version.

    Parameters
    ----------
    wait_s
        How long a request may wait.
    at_once
        How many the version's workers take at once, all of them: twice as many are always let in, so that there is a
        next batch.
    """

    def __init__(self, wait_s: float, at_once: int) -> None:
        self._wait_s = wait_s
        self._at_once = at_once
        self._least = min((one for one in TIERS if one >= 2 * at_once), default=TIERS[-1])
        self._looks: deque[Look] = deque()
        self._arrived = 0.0
        self._let_in: deque[tuple[float, int]] = deque()  # until when this many may be in flight, let in before
        self._raised = False
        self.requests = TIERS[-1]

    def guess(self, pass_s: float) -> None:
        """Set it by how long one request took alone, to twice what that makes: too little would refuse without need."""
        self.requests = self._fit(2 * self._at_once / max(pass_s, 1e-6) * self._wait_s)

    def look(self, now: Look) -> None:
        """Adapt it to what is seen."""
        if now.arrived < self._arrived or not now.queued:
            self._looks.clear()  # TorchServe is another one, or the queue was empty: then it says nothing of the pace
        self._arrived = now.arrived
        if now.queued:
            self._looks.append(now)
        while len(self._looks) > 2 and now.time_s - self._looks[1].time_s >= MEASURED_OVER_S:
            self._looks.popleft()
        before = self.requests
        self.requests = self._adapt(now, self._most_let_in(now.time_s))
        self._raised = self.requests > before

    def _adapt(self, now: Look, most_let_in: int) -> int:
        rate = self._rate()
        refused = now.refused > 0 and not self._raised  # else they may be of before it was raised
        if rate is None:
            return self._fit(2 * self.requests) if refused and not now.queued else self.requests
        wait_s = now.queued / rate
        if wait_s > self._wait_s:
            # What is queued beyond all that was let in is computed for no client: none is let in behind that either.
            return self._fit(rate * self._wait_s - max(0, now.queued - most_let_in))
        if refused and wait_s < SHORT * self._wait_s:
            return self._fit(max(2 * self.requests, rate * self._wait_s))
        return self.requests

    def _most_let_in(self, time_s: float) -> int:
        """Return the highest limit that was in force since clients that still wait came."""
        self._let_in.append((time_s + self._wait_s / QUEUED_PART, self.requests))
        while self._let_in[0][0] <= time_s:
            self._let_in.popleft()
        return max(requests for _, requests in self._let_in)

    def _rate(self) -> float | None:
        """Return how many requests a second leave the queue; None while that is not known."""
        if len(self._looks) < 2:
            return None
        first, last = self._looks[0], self._looks[-1]
        started = (last.arrived - first.arrived) - (last.queued - first.queued)
        if started < LEAST_STARTED:
            return None
        return started / (last.time_s - first.time_s)

    def _fit(self, requests: float) -> int:
        return max(self._least, tier(requests))
