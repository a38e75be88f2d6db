"""Recorded data as a training run takes it: read, its faults shown, its files hashed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from training.data import manifest, quality

if TYPE_CHECKING:
    from training.data.reading.reader import TableReader

Data = TypeVar("Data")


def load_recorded(
    path: Path,
    read: Callable[[Path], tuple[Data, Sequence[Any]]],
    files: Callable[[Path], Iterable[Path]],
    console: Console,
    reader: TableReader | None = None,
) -> tuple[Data, manifest.Manifest]:
    """Read recorded data.

    Parameters
    ----------
    path
        A file or a folder.
    read
        Returns the data, and the faults of what it left out.
    files
        Names the files that were read.
    console
        Where it is shown how the files were read, and their faults.
    reader
        Reads the tables, if they are tables.

    Raises
    ------
    training.data.quality.BadDataError
        If the data is bad and `read` refuses it.
    FileNotFoundError
        If there is no data at the path.
    """
    accounts = reader.accounts if reader else []
    try:
        found, faults = read(path)
    finally:
        for account in accounts:
            console.print(str(account), highlight=False, markup=False)
    for account in accounts:
        refused = len({fault.index for fault in faults if fault.file == account.file and fault.index is not None})
        console.print(
            f"{account.file}: {account.rows - refused:,} of {account.rows:,} rows kept", highlight=False, markup=False
        )
    if faults:
        console.print(quality.report(faults), highlight=False, markup=False)
    return found, manifest.of_files(list(files(path)), path)
