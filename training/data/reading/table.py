"""A table as it was read: its rows, the faults of the others, and the account of how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from training.data.quality import Fault
from training.data.reading.columns import Column
from training.data.reading.layout import printable


@dataclass
class Account:
    """How a file was read: what it is, each column's rule, and how many rows it has, the refused ones included."""

    file: str
    description: str
    rules: list[str] = field(default_factory=list)
    rows: int = 0

    def __str__(self) -> str:
        """Return it in a line per rule."""
        return "\n".join([f"{self.file}: {self.description}", *(f"  {rule}" for rule in self.rules)])


@dataclass
class Table:
    """What a file holds of the columns asked for.

    Attributes
    ----------
    file
        Its name.
    account
        How it was read.
    cells
        By column, of all N rows, as they stand in the file.
    headings
        By column.
    lines
        Of each row the line of the file, from 1; None of a parquet file.
    frame
        The rows that could be read; the index is the row's number in the file, from 0. Text is str as it stands, ""
        where there is none; a number float64; a day datetime64[ns] without a zone; an instant datetime64[ns, UTC]. A
        column that the file does not have is not in it.
    faults
        Of the other rows.
    """

    file: str
    account: Account
    cells: Mapping[str, pd.Series]
    headings: Mapping[str, str]
    lines: Sequence[int] | None
    frame: pd.DataFrame
    faults: list[Fault]

    def name(self, column: str) -> str:
        """Return a column's name, and its heading where that is another."""
        heading = self.headings[column]
        return column if heading == column else f"{column} ({heading!r})"

    def place(self, row: int) -> str:
        """Return where a row stands, as an editor shows it; in a parquet file by its number."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def show(self, column: str, row: int) -> str:
        """Return a cell and where it stands."""
        return f"{printable(str(self.cells[column].iat[row]), 40)!r} in {self.place(row)}"

    def describe(self, row: int, column: str, wrong: str, value: object = "") -> str:
        """Return what is wrong with a cell: where it stands, under which heading, and as what; or a derived value."""
        text = printable(str(self.cells[column].iat[row] if column in self.cells else value))
        return f"{self.place(row)}, column {self.headings.get(column, column)!r}: {wrong}, got {text!r}"

    def put(self, column: str, values: pd.Series) -> None:
        """Give the rows that are left their values of a column, of all N rows."""
        self.frame[column] = values.loc[self.frame.index]  # an empty frame would take the rows of the values

    def refuse(self, wrong: Mapping[int, tuple[str, str]], column: str) -> None:
        """Make faults of the rows whose cell of a column is wrong, given as kind and expectation."""
        for row, (kind, expected) in sorted(wrong.items()):
            self.faults.append(Fault(self.file, row, kind, self.describe(row, column, expected)))
        if wrong:
            self.frame = self.frame.drop(index=list(wrong), errors="ignore")

    def refuse_empty(self, column: Column, missing: pd.Series) -> None:
        """Refuse the rows, bool [N], that have nothing in a column where each must have something."""
        if column.is_needed:
            rows = set(np.flatnonzero(missing.to_numpy(bool)).tolist()) - {fault.index for fault in self.faults}
            self.refuse(dict.fromkeys(rows, ("empty cell", f"expected a {column.kind}")), column.name)

    def texts(self, column: str) -> pd.Series:
        """Return a column's cells as text; whole numbers that a missing neighbour made floats are whole again."""
        cells = self.cells[column]
        if pd.api.types.is_float_dtype(cells.dtype):
            given = cells.dropna()
            if bool(((given == np.floor(given)) & (given.abs() < 2**53)).all()):
                cells = cells.astype("Int64")
        missing = cells.isna()
        return cells.astype(str).mask(missing, "") if missing.any() else cells.astype(str)
