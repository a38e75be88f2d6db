"""A progress display for long work: what was done, how fast, and how much time is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.loop import Epoch


class Display:
    """The bar of one training run."""

    def __init__(self, progress: Progress, epochs: int, steps_per_epoch: int) -> None:
        self._progress = progress
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._task = progress.add_task("training", total=epochs * steps_per_epoch, last="")

    def step(self) -> None:
        """Count one step."""
        self._progress.advance(self._task)

    def epoch(self, epoch: Epoch) -> None:
        """Show an epoch's numbers; also catches up after a resume."""
        score = "" if epoch.score != epoch.score else f" · validation {epoch.score:.3f}"
        last = f"epoch {epoch.number}/{self._epochs} · loss {epoch.loss:.3f}{score}"
        self._progress.update(self._task, completed=epoch.number * self._steps_per_epoch, last=last)
        if not self._progress.console.is_terminal:  # a log has no bar
            self._progress.console.print(last)


@contextmanager
def display(console: Console, epochs: int, steps_per_epoch: int) -> Iterator[Display]:
    """Show a training run's progress on a console."""
    with _bar(console) as progress:
        yield Display(progress, epochs, steps_per_epoch)


@contextmanager
def counted(console: Console, what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show the progress of `total` pieces of work; what is yielded counts one, and says how it went."""
    with _bar(console) as progress:
        task = progress.add_task(what, total=total, last="")

        def one(last: str) -> None:
            progress.update(task, advance=1, last=last)
            if not console.is_terminal:
                console.print(f"{what} {int(progress.tasks[0].completed)}/{total} · {last}", highlight=False)

        yield one


def _bar(console: Console) -> Progress:
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
