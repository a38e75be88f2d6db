"""A database or disk that is unavailable: reported once, and once more when it is available again."""

from collections.abc import Callable


class Outage:
    """Whether the database is unavailable.

    Parameters
    ----------
    report
        How to notify the operator.
    meanwhile
        What that means, for the reader of the log.
    what
        What else than the database.
    """

    def __init__(self, report: Callable[[str], None], meanwhile: str, what: str = "the database") -> None:
        self.on = False
        self._what = what
        self._report = report
        self._meanwhile = meanwhile

    def begin(self, error: Exception) -> None:
        """Note that the database did not answer."""
        if not self.on:
            self.on = True
            self._report(
                f"{self._what} is unavailable; {self._meanwhile} ({(str(error) or repr(error)).splitlines()[0]})"
            )

    def end(self) -> None:
        """Note that it did."""
        if self.on:
            self.on = False
            self._report(f"{self._what} is available again")
