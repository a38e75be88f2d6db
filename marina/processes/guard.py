"""A loop whose parts fail alone: a fault ends neither the loop nor the parts after it."""

import contextlib
import traceback
from collections.abc import Callable, Iterator


class Guard:
    """Says each fault of a part once, and once more when the part works again.

    Parameters
    ----------
    report
        How to say it.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._faults: dict[str, tuple[object, ...]] = {}

    @contextlib.contextmanager
    def part(self, name: str, passing: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
        """Do the block; whatever it raises is said, and nothing more.

        Parameters
        ----------
        name
            What the block is there for, for the reader of its fault.
        passing
            What is raised anyway.
        """
        try:
            yield
        except passing:
            raise
        except Exception as error:
            fault = (type(error), getattr(error, "errno", None))
            if self._faults.get(name) != fault:
                self._faults[name] = fault
                self._report(f"{name} fails, everything else continues: {_words(error)}")
        else:
            if self._faults.pop(name, None):
                self._report(f"{name} works again")


def _words(error: Exception) -> str:
    if isinstance(error, OSError):  # a fault of the machine: where it happened in the code says nothing more
        return str(error)
    return "".join(traceback.format_exception(error)).rstrip()
