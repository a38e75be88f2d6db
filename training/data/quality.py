"""Whether recorded data is sound; every fault is reported by file and index, then skipped or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from archives.errors import MarinaError

OnBad = Literal["skip", "refuse"]

_NEVER_MORE_THAN = 20  # faults printed one by one


@dataclass(frozen=True)
class Fault:
    """One thing wrong with recorded data.

    Attributes
    ----------
    file
        Name of the file.
    index
        Which sequence or row of the file, from 0; None where the whole file is meant.
    kind
        A short name, such as "unreadable file", "truncated" or "unknown label".
    detail
        What was expected and what came.
    """

    file: str
    index: int | None
    kind: str
    detail: str

    def __str__(self) -> str:
        """Return the fault in one line."""
        place = self.file if self.index is None else f"{self.file}[{self.index}]"
        return f"{place}: {self.kind}: {self.detail}"


class BadDataError(MarinaError, ValueError):
    """Recorded data has faults and the caller asked to refuse it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        is_partial = any(fault.index is not None for fault in faults)
        advice = "correct the data" + (", or pass --on-bad skip to train on the rest" if is_partial else "")
        super().__init__(f"{report(faults)}\n{advice}")


def report(faults: Sequence[Fault]) -> str:
    """Return a readable account of the faults: a count per kind, then each by file and index."""
    if not faults:
        return "no faults in the data"
    kinds = ", ".join(f"{count} x {kind}" for kind, count in Counter(fault.kind for fault in faults).most_common())
    lines = [f"{len(faults)} faults in the data ({kinds})", *(f"  {fault}" for fault in faults[:_NEVER_MORE_THAN])]
    if len(faults) > _NEVER_MORE_THAN:
        lines.append(f"  ... and {len(faults) - _NEVER_MORE_THAN} more")
    return "\n".join(lines)
