"""What a family brings along for its rows to be kept in the database: ``training/FAMILY/raw_rows.py``, as `SOURCE`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from archives.errors import MarinaError
from training.data.quality import Fault
from training.data.reading.columns import Column
from training.data.reading.reader import TableReader
from training.family import families

if TYPE_CHECKING:
    import pandas as pd

MODULE: Final = "raw_rows"


class UnknownSourceError(MarinaError):
    """A family keeps no rows in the database."""


@dataclass(frozen=True, kw_only=True)
class RowSource:
    """How the tables of one family are read, and what a row of them is.

    Attributes
    ----------
    kinds
        The columns of each kind of table, by the name of the file that training reads, without its ending.
    files
        Returns the tables at a path; raises FileNotFoundError where there is none.
    read
        Returns a file's kind, its sound rows by their number in it, and the faults of the others; raises
        `training.data.quality.BadDataError` where nothing can be taken.
    generate
        Returns about as many rows as asked for by a seed, by kind: what stands in for recorded rows.
    moment
        The column that says when a row was: rows are released in its order, and none is from the future. Empty where
        rows have no time; they are released in the order of their hashes, which is as good as at random.
    identity
        Columns that name a row; two that agree in them and differ in others contradict each other. Empty: all columns.
    may_repeat
        Whether equal rows of one file are different things, such as two coffees on a day, rather than one written
        twice.
    labelled
        Models whose labelled requests are rows: of each the column that a field of a request fills, and, under the
        empty name, the one that its label does.
    """

    kinds: Mapping[str, tuple[Column, ...]]
    files: Callable[[Path], list[Path]]
    read: Callable[[Path, TableReader], tuple[str, pd.DataFrame, list[Fault]]]
    generate: Callable[[int, int], Mapping[str, pd.DataFrame]]
    moment: str = ""
    identity: tuple[str, ...] = ()
    may_repeat: bool = False
    labelled: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def source(family: str) -> RowSource:
    """Import what a family brings along.

    Raises
    ------
    UnknownSourceError
        If it brings nothing.
    """
    known = families(MODULE)
    if family not in known:
        raise UnknownSourceError(f"{family}: expected a family whose rows are kept in the database: {', '.join(known)}")
    found: RowSource = importlib.import_module(f"training.{family}.{MODULE}").SOURCE
    return found
