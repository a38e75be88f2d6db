"""Requests whose time is up are not worth a forward pass: no client waits for the answer any more.

The gateway says when it had a request whole (``X-Received``, seconds since 1970, the same for every attempt), and the
supervisor how long one may take (``MARINA_REQUEST_TIMEOUT_S``). Both clocks are this machine's.
"""

import os

SHARE = 0.1
"""How much the newest batch counts in what a batch usually takes."""


class Deadline:
    """Tells which requests would be answered too late.

    Parameters
    ----------
    timeout_s
        How long a request may take; 0 is without limit.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._usual_s = 0.0

    @staticmethod
    def from_environment() -> "Deadline":
        """Make the one that the supervisor asks for."""
        try:
            return Deadline(max(0.0, float(os.environ.get("MARINA_REQUEST_TIMEOUT_S") or 0)))
        except ValueError:
            return Deadline(0.0)

    def missed(self, received: str | None, now: float) -> float | None:
        """Return for how many seconds a request has waited, if there is no time left to answer it; else None.

        Parameters
        ----------
        received
            As the gateway sent it; None where nothing came, and there is no deadline.
        now
            Seconds since 1970.
        """
        if received is None or not self.timeout_s:
            return None
        try:
            waited_s = now - float(received)
        except ValueError:
            return None
        # A clock that jumped must not refuse everything; NaN compares false.
        if self.timeout_s - self._usual_s < waited_s <= 2 * self.timeout_s:
            return waited_s
        return None

    def took(self, seconds: float) -> None:
        """Learn what a batch takes, of which half the time limit is taken at most.

        A batch of nothing but missed requests counts too, so that an estimate which is too high comes down.
        """
        self._usual_s += SHARE * (min(seconds, self.timeout_s / 2) - self._usual_s)
