"""Shows how far a long reading has come: a bar on a terminal, a line every ten seconds in a log.

Apart from `training.progress`, which imports the training loop: whoever reads a repository does not wait for torch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY_S: Final = 10.0
Piece = TypeVar("Piece")


def each(console: Console, what: str, pieces: Iterable[Piece], total: int) -> Iterator[Piece]:
    """Yield pieces, and show how many have been yielded.

    Parameters
    ----------
    console
        Where it is shown.
    what
        Is being done with them.
    pieces
        Any number.
    total
        How many there will be.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        told = time.monotonic()
        for number, piece in enumerate(pieces):
            yield piece
            progress.advance(task)
            if not console.is_terminal and time.monotonic() - told > EVERY_S:
                told = time.monotonic()
                console.print(f"{what}: {number + 1:,} of {total:,}", highlight=False)
