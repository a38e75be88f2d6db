"""The progress of a training run: epochs, loss and validation score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from training.neural.schedule import Epoch
from training.progress import bar


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
    with bar(console) as progress:
        yield Display(progress, epochs, steps_per_epoch)
