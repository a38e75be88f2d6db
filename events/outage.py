"""A database that is away, told of once, and once more when it is back."""

from collections.abc import Callable


class Outage:
    """Whether the database is away.

    Parameters
    ----------
    tell
        How to tell.
    meanwhile
        What that means, for whoever reads it.
    """

    def __init__(self, tell: Callable[[str], None], meanwhile: str) -> None:
        self.on = False
        self._tell = tell
        self._meanwhile = meanwhile

    def begin(self, error: Exception) -> None:
        """Note that the database did not answer."""
        if not self.on:
            self.on = True
            self._tell(f"the database is away; {self._meanwhile} ({str(error).splitlines()[0]})")

    def end(self) -> None:
        """Note that it did."""
        if self.on:
            self.on = False
            self._tell("the database is back")
