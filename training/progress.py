"""A progress display for long work: what was done, how fast, and how much time is left.

A bar on a terminal; lines in a log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

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
        shown_at = time.monotonic()
        for number, piece in enumerate(pieces):
            yield piece
            progress.advance(task)
            if not console.is_terminal and time.monotonic() - shown_at > EVERY_S:
                shown_at = time.monotonic()
                console.print(f"{what}: {number + 1:,} of {total:,}", highlight=False)


@contextmanager
def counted(console: Console, what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show the progress of `total` pieces of work; what is yielded counts one, and says how it went."""
    with bar(console) as progress:
        task = progress.add_task(what, total=total, last="")

        def one(last: str) -> None:
            progress.update(task, advance=1, last=last)
            if not console.is_terminal:
                console.print(f"{what} {int(progress.tasks[0].completed)}/{total} · {last}", highlight=False)

        yield one


def bar(console: Console) -> Progress:
    """Return the bar that all of them are shown by: what was done, how it went last, how long it will take."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} % · {task.fields[last]} ·"),
        TimeElapsedColumn(),
        TextColumn("gone,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)
